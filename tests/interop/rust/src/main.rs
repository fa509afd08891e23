// SPDX-License-Identifier: GPL-2.0-or-later
//! dfinterop - a peer and a command line made of the published crates, against our dfdaemon.
//!
//!     dfinterop child GRPC-HOST:PORT ID FILE      as a child: which pieces are there, fetch each, compare
//!     dfinterop cli SOCKET FILE OUT               import FILE, stat it, export it to OUT
//!     dfinterop stream SOCKET ID FILE             export with content in the stream, compare
//!     dfinterop parent HOST:PORT FILE PIECE-LENGTH   serve pieces over Vortex until killed

use bytes::BytesMut;
use dragonfly_api::dfdaemon::v2 as api;
use prost_wkt_types::Duration;
use std::error::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tonic::transport::{Channel, Endpoint, Uri};
use vortex_protocol::tlv::download_persistent_cache_piece::DownloadPersistentCachePiece;
use vortex_protocol::tlv::error::{Code, Error as Refusal};
use vortex_protocol::tlv::persistent_cache_piece_content::PersistentCachePieceContent;
use vortex_protocol::tlv::piece_metadata::PieceMetadata;
use vortex_protocol::tlv::Tag;
use vortex_protocol::{Header, Message, HEADER_SIZE};

type Outcome<T> = Result<T, Box<dyn Error>>;

async fn read_packet(s: &mut TcpStream) -> Outcome<(Header, Vec<u8>)> {
    let mut head = [0u8; HEADER_SIZE];
    s.read_exact(&mut head).await?;
    let header = Header::decode(&head)?;
    let mut value = vec![0u8; header.length() as usize];
    s.read_exact(&mut value).await?;
    Ok((header, value))
}

/// One piece as the reference client asks for it: one request, one answer, the end of the stream.
async fn get(addr: &str, task: &str, number: u32) -> Outcome<Result<(PieceMetadata, Vec<u8>), Refusal>> {
    let mut s = TcpStream::connect(addr).await?;
    let mut out = BytesMut::new();
    DownloadPersistentCachePiece::new(task.to_string(), number).encode_packet(&mut out);
    s.write_all(&out).await?;
    let (header, value) = read_packet(&mut s).await?;
    if header.tag() == Tag::Error {
        return Ok(Err(Refusal::decode(&value)?));
    }
    if header.tag() != Tag::PersistentCachePieceContent {
        return Err(format!("tag {:?}", header.tag()).into());
    }
    let metadata = PersistentCachePieceContent::decode(&value)?.metadata;
    let mut content = Vec::new();
    s.read_to_end(&mut content).await?;
    Ok(Ok((metadata, content)))
}

async fn child(grpc: &str, task: &str, path: &str) -> Outcome<()> {
    let file = std::fs::read(path)?;
    let channel = Endpoint::from_shared(format!("http://{grpc}"))?.connect().await?;
    let mut client = api::dfdaemon_upload_client::DfdaemonUploadClient::new(channel);
    let mut pieces = client
        .sync_persistent_cache_pieces(api::SyncPersistentCachePiecesRequest {
            host_id: "127.0.0.9-rust".into(),
            task_id: task.into(),
            interested_piece_numbers: (0..1000).collect(),
        })
        .await?
        .into_inner();
    let (mut total, mut vortex) = (0u64, String::new());
    while let Some(p) = pieces.message().await? {
        vortex = format!("{}:{}", p.ip, p.tcp_port.ok_or("no TCP port")?);
        let (m, content) = get(&vortex, task, p.number).await?.map_err(|e| e.message)?;
        let want = &file[p.offset as usize..(p.offset + p.length) as usize];
        assert_eq!((m.number, m.offset, m.length), (p.number, p.offset, p.length));
        assert_eq!(content, want, "piece {}", p.number);
        assert_eq!(m.digest, format!("crc32:{}", crc32fast::hash(want)));
        total += p.length;
        if total == file.len() as u64 {
            break; // dfdaemon keeps the stream open for pieces to come
        }
    }
    assert_eq!(total, file.len() as u64);
    let refused = get(&vortex, task, 100_000).await?;
    assert_eq!(refused.expect_err("a piece that does not exist").code, Code::NotFound);
    Ok(())
}

async fn local(socket: &str) -> Outcome<Channel> {
    let socket = socket.to_string();
    Ok(Endpoint::from_static("http://[::]:50051")
        .connect_with_connector(tower::service_fn(move |_: Uri| {
            let socket = socket.clone();
            async move { UnixStream::connect(socket).await.map(hyper_util::rt::TokioIo::new) }
        }))
        .await?)
}

fn download(task: &str) -> api::DownloadPersistentCacheTaskRequest {
    api::DownloadPersistentCacheTaskRequest {
        task_id: task.into(),
        timeout: Some(Duration { seconds: 60, nanos: 0 }),
        ..Default::default()
    }
}

async fn cli(socket: &str, path: &str, out: &str) -> Outcome<()> {
    let mut client = api::dfdaemon_download_client::DfdaemonDownloadClient::new(local(socket).await?);
    let task = client
        .upload_persistent_cache_task(api::UploadPersistentCacheTaskRequest {
            path: path.into(),
            persistent_replica_count: 1,
            ttl: Some(Duration { seconds: 3600, nanos: 0 }),
            timeout: Some(Duration { seconds: 60, nanos: 0 }),
            ..Default::default()
        })
        .await?
        .into_inner();
    assert_eq!(task.content_length, std::fs::metadata(path)?.len());
    let again = client
        .stat_persistent_cache_task(api::StatPersistentCacheTaskRequest {
            task_id: task.id.clone(),
            remote_ip: None,
        })
        .await?
        .into_inner();
    assert_eq!((again.id.as_str(), again.content_length), (task.id.as_str(), task.content_length));
    let mut request = download(&task.id);
    request.output_path = Some(out.into());
    let mut events = client.download_persistent_cache_task(request).await?.into_inner();
    while events.message().await?.is_some() {}
    let missing = client
        .stat_persistent_cache_task(api::StatPersistentCacheTaskRequest {
            task_id: "4294967295".into(),
            remote_ip: None,
        })
        .await
        .expect_err("a task that does not exist");
    assert_eq!(missing.code(), tonic::Code::NotFound, "{missing}");
    println!("{}", task.id);
    Ok(())
}

async fn stream(socket: &str, task: &str, path: &str) -> Outcome<()> {
    use api::download_persistent_cache_task_response::Response;
    let file = std::fs::read(path)?;
    let mut client = api::dfdaemon_download_client::DfdaemonDownloadClient::new(local(socket).await?)
        .max_decoding_message_size(64 << 20);
    let mut request = download(task);
    request.need_piece_content = true;
    let mut events = client.download_persistent_cache_task(request).await?.into_inner();
    let (mut started, mut total) = (false, 0);
    while let Some(event) = events.message().await? {
        match event.response {
            Some(Response::DownloadPersistentCacheTaskStartedResponse(s)) => {
                started = true;
                assert_eq!(s.content_length, file.len() as u64);
            }
            Some(Response::DownloadPieceFinishedResponse(p)) => {
                let p = p.piece.ok_or("no piece")?;
                let content = p.content.ok_or("no content")?;
                assert_eq!(content, file[p.offset as usize..(p.offset + p.length) as usize]);
                total += content.len();
            }
            None => {}
        }
    }
    assert!(started && total == file.len());
    Ok(())
}

async fn answer(mut s: TcpStream, file: &[u8], piece_length: usize) -> Outcome<()> {
    let (header, value) = read_packet(&mut s).await?;
    assert_eq!(header.tag(), Tag::DownloadPersistentCachePiece);
    let want = DownloadPersistentCachePiece::decode(&value)?;
    let offset = want.piece_number as usize * piece_length;
    let mut out = BytesMut::new();
    if offset >= file.len() {
        Refusal::new(Code::NotFound, "no such piece".into()).encode_packet(&mut out);
        s.write_all(&out).await?;
        return Ok(s.shutdown().await?);
    }
    let content = &file[offset..file.len().min(offset + piece_length)];
    PersistentCachePieceContent {
        metadata: PieceMetadata {
            number: want.piece_number,
            offset: offset as u64,
            length: content.len() as u64,
            digest: format!("crc32:{}", crc32fast::hash(content)),
            parent_id: String::new(),
            traffic_type: 0,
            cost: std::time::Duration::from_secs(1),
            created_at: chrono::DateTime::from_timestamp(1_750_000_000, 0).unwrap().naive_utc(),
        },
    }
    .encode_packet(&mut out);
    s.write_all(&out).await?;
    s.write_all(content).await?;
    Ok(s.shutdown().await?)
}

async fn parent(addr: &str, path: &str, piece_length: &str) -> Outcome<()> {
    let file: &'static [u8] = Box::leak(std::fs::read(path)?.into_boxed_slice());
    let piece_length = piece_length.parse()?;
    let listener = TcpListener::bind(addr).await?;
    println!("ready");
    loop {
        let (s, _) = listener.accept().await?;
        tokio::spawn(async move {
            if let Err(e) = answer(s, file, piece_length).await {
                eprintln!("dfinterop: {e}");
            }
        });
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["child", grpc, task, file] => child(grpc, task, file).await,
        ["cli", socket, file, out] => cli(socket, file, out).await,
        ["stream", socket, task, file] => stream(socket, task, file).await,
        ["parent", addr, file, length] => parent(addr, file, length).await,
        _ => Err("child, cli, stream or parent; see the source".into()),
    }
}
