// SPDX-License-Identifier: GPL-2.0-or-later

// dfinterop - grpc-go and the published Go API of Dragonfly against our dfdaemon.
//
//	dfinterop client SOCKET HOST:PORT FILE   health, import by path, stat by 200 calls at once, export
//	dfinterop cluster SCHEDULER UPLOAD VORTEX-PORT FILE TASK PIECE-LENGTH
//	                                         a scheduler (connections live 2 s) and the gRPC half of a
//	                                         parent that holds FILE as TASK, until killed
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"strconv"
	"sync"
	"time"

	common "d7y.io/api/v2/pkg/apis/common/v2"
	dfdaemon "d7y.io/api/v2/pkg/apis/dfdaemon/v2"
	scheduler "d7y.io/api/v2/pkg/apis/scheduler/v2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func want(ok bool, format string, args ...any) {
	if !ok {
		log.Fatalf(format, args...)
	}
}

func dial(target string) *grpc.ClientConn {
	c, err := grpc.NewClient(target, grpc.WithTransportCredentials(insecure.NewCredentials()))
	must(err)
	return c
}

func client(socket, tcp, file string) {
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Second)
	defer cancel()
	local, peer := dial("unix:"+socket), dial(tcp)
	h, err := healthpb.NewHealthClient(local).Check(ctx,
		&healthpb.HealthCheckRequest{Service: "dfdaemon.v2.DfdaemonDownload"})
	must(err)
	want(h.Status == healthpb.HealthCheckResponse_SERVING, "health: %v", h.Status)

	c := dfdaemon.NewDfdaemonDownloadClient(local)
	task, err := c.UploadPersistentCacheTask(ctx, &dfdaemon.UploadPersistentCacheTaskRequest{
		Path: file, PersistentReplicaCount: 1, Ttl: durationpb.New(time.Hour)})
	must(err)
	content, err := os.ReadFile(file)
	must(err)
	want(task.ContentLength == uint64(len(content)), "length %d", task.ContentLength)

	var all sync.WaitGroup
	for i := 0; i < 200; i++ { // more than the 100 streams of a connection
		all.Add(1)
		go func() {
			defer all.Done()
			t, err := dfdaemon.NewDfdaemonDownloadClient(local).StatPersistentCacheTask(ctx,
				&dfdaemon.StatPersistentCacheTaskRequest{TaskId: task.Id})
			must(err)
			want(t.Id == task.Id, "stat: %v", t)
		}()
	}
	all.Wait()

	stream, err := c.DownloadPersistentCacheTask(ctx, &dfdaemon.DownloadPersistentCacheTaskRequest{
		TaskId: task.Id, NeedPieceContent: true},
		grpc.MaxCallRecvMsgSize(64<<20))
	must(err)
	got := make([]byte, len(content))
	for {
		event, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		must(err)
		if p := event.GetDownloadPieceFinishedResponse(); p != nil {
			copy(got[p.Piece.Offset:], p.Piece.Content)
		}
	}
	want(bytes.Equal(got, content), "other content")

	_, err = dfdaemon.NewDfdaemonUploadClient(peer).StatPersistentCacheTask(ctx,
		&dfdaemon.StatPersistentCacheTaskRequest{TaskId: "4294967295"})
	want(status.Code(err) == codes.NotFound, "stat of nothing: %v", err)
	other, err := dfdaemon.NewDfdaemonUploadClient(peer).DownloadTask(ctx, &dfdaemon.DownloadTaskRequest{
		Download: &common.Download{Url: "http://127.0.0.1/"}})
	must(err)
	_, err = other.Recv()
	want(status.Code(err) == codes.Unimplemented, "a task of another kind: %v", err)
	short, stop := context.WithTimeout(ctx, time.Nanosecond)
	defer stop()
	_, err = c.StatPersistentCacheTask(short, &dfdaemon.StatPersistentCacheTaskRequest{TaskId: task.Id})
	want(status.Code(err) == codes.DeadlineExceeded, "deadline: %v", err)
}

type cluster struct {
	scheduler.UnimplementedSchedulerServer
	*held
}

type held struct {
	task        *common.PersistentCacheTask
	parent      *common.PersistentCachePeer
	ip          string
	vortex      int32
	pieceLength uint64
}

func (c *cluster) AnnounceHost(_ context.Context, r *scheduler.AnnounceHostRequest) (*emptypb.Empty, error) {
	if err := r.Validate(); err != nil { // the rules of the Go side
		log.Print("AnnounceHost: ", err)
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	fmt.Println("host", r.Host.Id)
	return &emptypb.Empty{}, nil
}

func (c *cluster) DeleteHost(_ context.Context, r *scheduler.DeleteHostRequest) (*emptypb.Empty, error) {
	fmt.Println("gone", r.HostId)
	return &emptypb.Empty{}, nil
}

func (c *cluster) stat(id string) (*common.PersistentCacheTask, error) {
	if id != c.task.Id {
		return nil, status.Errorf(codes.NotFound, "persistent cache task %s not found", id)
	}
	return c.task, nil
}

func (c *cluster) StatPersistentCacheTask(_ context.Context, r *scheduler.StatPersistentCacheTaskRequest) (*common.PersistentCacheTask, error) {
	if err := r.Validate(); err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	return c.stat(r.TaskId)
}

func (c *cluster) AnnouncePersistentCachePeer(s scheduler.Scheduler_AnnouncePersistentCachePeerServer) error {
	for {
		r, err := s.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := r.Validate(); err != nil {
			log.Print("AnnouncePersistentCachePeer: ", err)
			return status.Error(codes.InvalidArgument, err.Error())
		}
		switch {
		case r.GetRegisterPersistentCachePeerRequest() != nil:
			err = s.Send(&scheduler.AnnouncePersistentCachePeerResponse{
				Response: &scheduler.AnnouncePersistentCachePeerResponse_NormalPersistentCacheTaskResponse{
					NormalPersistentCacheTaskResponse: &scheduler.NormalPersistentCacheTaskResponse{
						CandidateParents: []*common.PersistentCachePeer{c.parent}}}})
			if err != nil {
				return err
			}
		case r.GetDownloadPersistentCachePeerFinishedRequest() != nil:
			fmt.Println("finished", r.PeerId)
			return nil
		case r.GetDownloadPersistentCachePeerFailedRequest() != nil:
			fmt.Println("failed", r.PeerId)
			return nil
		}
	}
}

type parent struct {
	dfdaemon.UnimplementedDfdaemonUploadServer
	*held
}

func (c parent) SyncPersistentCachePieces(r *dfdaemon.SyncPersistentCachePiecesRequest, s dfdaemon.DfdaemonUpload_SyncPersistentCachePiecesServer) error {
	if err := r.Validate(); err != nil {
		log.Print("SyncPersistentCachePieces: ", err)
		return status.Error(codes.InvalidArgument, err.Error())
	}
	for _, n := range r.InterestedPieceNumbers {
		offset := uint64(n) * c.pieceLength
		if offset >= c.task.ContentLength {
			continue
		}
		err := s.Send(&dfdaemon.SyncPersistentCachePiecesResponse{Number: n, Offset: offset,
			Length: min(c.pieceLength, c.task.ContentLength-offset), Ip: c.ip, TcpPort: &c.vortex})
		if err != nil {
			return err
		}
	}
	return nil
}

func serve(address string, register func(*grpc.Server), options ...grpc.ServerOption) {
	l, err := net.Listen("tcp", address)
	must(err)
	s := grpc.NewServer(options...)
	register(s)
	go func() { must(s.Serve(l)) }()
}

func play(sched, upload, vortex, file, id, piece string) {
	info, err := os.Stat(file)
	must(err)
	length, err := strconv.ParseUint(piece, 10, 64)
	must(err)
	port, err := strconv.ParseInt(vortex, 10, 32)
	must(err)
	host, uploadPort, err := net.SplitHostPort(upload)
	must(err)
	up, err := strconv.ParseInt(uploadPort, 10, 32)
	must(err)
	count := (uint64(info.Size()) + length - 1) / length
	now := timestamppb.Now()
	c := &held{ip: host, vortex: int32(port), pieceLength: length}
	c.task = &common.PersistentCacheTask{Id: id, PersistentReplicaCount: 1,
		CurrentPersistentReplicaCount: 1, CurrentReplicaCount: 1, PieceLength: length,
		ContentLength: uint64(info.Size()), PieceCount: uint32(count), State: "Succeeded",
		Ttl: durationpb.New(time.Hour), CreatedAt: now, UpdatedAt: now}
	c.parent = &common.PersistentCachePeer{Id: "parent", Persistent: true, State: "Succeeded",
		Task: c.task, CreatedAt: now, UpdatedAt: now, Cost: durationpb.New(time.Second),
		Host: &common.Host{Id: host + "-go", Hostname: "go", Ip: host, Port: int32(up),
			DownloadPort: int32(up), Type: 0}}
	serve(sched, func(s *grpc.Server) {
		scheduler.RegisterSchedulerServer(s, &cluster{held: c})
		healthpb.RegisterHealthServer(s, health.NewServer())
	}, grpc.KeepaliveParams(keepalive.ServerParameters{
		MaxConnectionAge: 2 * time.Second, MaxConnectionAgeGrace: 30 * time.Second}))
	serve(upload, func(s *grpc.Server) { dfdaemon.RegisterDfdaemonUploadServer(s, parent{held: c}) })
	fmt.Println("ready")
	select {}
}

func main() {
	args := os.Args[1:]
	switch {
	case len(args) == 4 && args[0] == "client":
		client(args[1], args[2], args[3])
		fmt.Println("ok")
	case len(args) == 7 && args[0] == "cluster":
		play(args[1], args[2], args[3], args[4], args[5], args[6])
	default:
		log.Fatal("client or cluster; see the source")
	}
}
