/* SPDX-License-Identifier: GPL-2.0-or-later */
/* tls.c — see tls.h. The socket is OpenSSL's (SSL_set_fd), not a pair of memory BIOs: one copy less, and
 * only so can the kernel encrypt. */
#include "common/tls.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "common/buf.h"
#include "common/cleanup.h"
#include "common/fd.h"
#include "common/list.h"
#include "common/loop.h"

#define KEY_MAX   ((size_t)64 << 10)
#define CHAIN_MAX ((size_t)32 << 10) /* of a stranger, in a handshake */
#define ALERTS    1000 /* SSL_AD_REASON_OFFSET: reasons from here on are alerts of the other side */

enum { CA, CERT, KEY, N_FILES };

struct stamp {
	dev_t dev;
	ino_t ino;
	off_t size;
	struct timespec mtime, ctime;
};

/* what one reading of the files gave */
struct identity {
	SSL_CTX *ssl;
	struct stamp stamps[N_FILES];
	int64_t expires;
};

struct tls_context {
	unsigned n_refs, n_shaking;
	char *paths[N_FILES];
	struct identity id;
	struct list shaking; /* accepted and not yet open, oldest first */
};

struct wait { /* of tls_recv() and tls_send() */
	struct loop_op *op; /* NULL: none polls */
	void *p;
	size_t n;
	int fd;
};

struct tls {
	struct tls_context *context;
	SSL *ssl;
	struct list shaking;
	int fd;
	char alpn[32]; /* the form of the wire: a length byte, then the name */
	char name[256];
	bool is_open, is_over;
	int error; /* of the first failure, which ends everything */
	int write_error; /* the socket takes no more; why may still be read */
	short events;
	uint8_t *out; /* taken and not yet in the socket */
	size_t n_out;
	struct wait recv, send;
	char peer[128], reason[TLS_REASON];
};

/* ---- contexts ---------------------------------------------------------------------------------- */

static int complain(char *reason, int e, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
static int complain(char *reason, int e, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(reason, TLS_REASON, fmt, ap);
	va_end(ap);
	return e;
}

/* library_says - OpenSSL's own words for what it does not say otherwise */
static const char *library_says(void)
{
	const char *s = ERR_reason_error_string(ERR_peek_last_error());

	return s ? s : "it is not what it should be";
}

static int read_stamp(const char *path, struct stamp *s)
{
	struct stat st;

	memset(s, 0, sizeof(*s));
	if (stat(path, &st) < 0)
		return -errno;
	*s = (struct stamp){.dev = st.st_dev,
		.ino = st.st_ino,
		.size = st.st_size,
		.mtime = st.st_mtim,
		.ctime = st.st_ctim};
	return 0;
}

static bool is_same_stamp(const struct stamp *a, const struct stamp *b)
{
	return a->dev == b->dev && a->ino == b->ino && a->size == b->size &&
	       a->mtime.tv_sec == b->mtime.tv_sec && a->mtime.tv_nsec == b->mtime.tv_nsec &&
	       a->ctime.tv_sec == b->ctime.tv_sec && a->ctime.tv_nsec == b->ctime.tv_nsec;
}

static int no_passphrase(char *p, int n, int writing, void *arg)
{
	return 0; /* never ask the terminal */
}

static int use_key(SSL_CTX *ssl, const char *path, char *reason)
{
	_cleanup_fd_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	_cleanup_buf_ struct buf text = {0};
	struct stat st;
	EVP_PKEY *key;
	BIO *bio;
	ssize_t n;
	int r;

	if (fd < 0 || fstat(fd, &st) < 0) {
		r = -errno;
		return complain(reason, r, "the key %s: %s", path, strerror(-r));
	}
	if (!S_ISREG(st.st_mode) || st.st_size > (off_t)KEY_MAX)
		return complain(reason, -EINVAL, "the key %s is not a small file", path);
	if (st.st_mode & 027)
		return complain(reason, -EINVAL,
			"the key %s has mode %04o: others may read or write it; 0600 or 0640 would be "
			"right",
			path, (unsigned)st.st_mode & 07777);
	if (st.st_uid && st.st_uid != geteuid())
		return complain(reason, -EINVAL,
			"the key %s belongs to uid %u, who could change it; it should be root's or "
			"ours (%u)",
			path, (unsigned)st.st_uid, (unsigned)geteuid());
	n = buf_reserve(&text, (size_t)st.st_size + 1)
		    ? fd_read_full(fd, text.data, (size_t)st.st_size)
		    : -ENOMEM;
	if (n < 0)
		return complain(reason, (int)n, "the key %s: %s", path, strerror((int)-n));
	bio = BIO_new_mem_buf(text.data, (int)n);
	key = bio ? PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL) : NULL;
	BIO_free(bio);
	explicit_bzero(text.data, (size_t)n);
	if (!key)
		return complain(reason, -EINVAL,
			"the key %s is not a PEM private key without a passphrase (%s)", path,
			library_says());
	r = SSL_CTX_use_PrivateKey(ssl, key);
	EVP_PKEY_free(key);
	if (r != 1 || SSL_CTX_check_private_key(ssl) != 1)
		return complain(reason, -EINVAL,
			"the key %s does not belong to the certificate (%s)", path, library_says());
	return 0;
}

static int64_t seconds_of(const ASN1_TIME *t)
{
	struct tm tm;

	return t && ASN1_TIME_to_tm(t, &tm) == 1 ? (int64_t)timegm(&tm) : 0;
}

static void print_date(const ASN1_TIME *t, char out[32])
{
	time_t s = (time_t)seconds_of(t);
	struct tm tm;

	strftime(out, 32, "%Y-%m-%d %H:%M:%S UTC", gmtime_r(&s, &tm));
}

/* explain - the sentence for one failed check of a certificate */
static void explain(X509_STORE_CTX *s, const char *whose, const char *name, char *reason)
{
	int e = X509_STORE_CTX_get_error(s);
	X509 *cert = X509_STORE_CTX_get_current_cert(s);
	char subject[128] = "without a subject", date[32] = "";

	if (cert)
		X509_NAME_oneline(X509_get_subject_name(cert), subject, sizeof(subject));
	switch (e) {
	case X509_V_ERR_CERT_HAS_EXPIRED:
		print_date(cert ? X509_get0_notAfter(cert) : NULL, date);
		complain(reason, 0, "%s certificate (%s) has expired on %s", whose, subject, date);
		break;
	case X509_V_ERR_CERT_NOT_YET_VALID:
		print_date(cert ? X509_get0_notBefore(cert) : NULL, date);
		complain(reason, 0, "%s certificate (%s) is valid from %s on only", whose, subject,
			date);
		break;
	case X509_V_ERR_HOSTNAME_MISMATCH:
	case X509_V_ERR_IP_ADDRESS_MISMATCH:
		complain(reason, 0, "%s certificate (%s) is not for the name %s", whose, subject,
			name);
		break;
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
	case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
	case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
	case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
	case X509_V_ERR_CERT_SIGNATURE_FAILURE:
		complain(reason, 0, "%s certificate (%s) is not from the CA in ca_cert", whose,
			subject);
		break;
	case X509_V_ERR_INVALID_PURPOSE:
		complain(reason, 0,
			"%s certificate (%s) is not meant for this: its extended key usage must "
			"have both serverAuth and clientAuth, or be absent",
			whose, subject);
		break;
	default:
		complain(reason, 0, "%s certificate (%s): %s", whose, subject,
			X509_verify_cert_error_string(e));
	}
}

/* check_own - what the others will say about our certificate is better said at once */
static int check_own(struct identity *id, const char *path, char *reason)
{
	X509 *cert = SSL_CTX_get0_certificate(id->ssl);
	STACK_OF(X509) *chain = NULL;
	X509_STORE_CTX *s = X509_STORE_CTX_new();
	int ok;

	SSL_CTX_get0_chain_certs(id->ssl, &chain);
	ok = s && X509_STORE_CTX_init(s, SSL_CTX_get_cert_store(id->ssl), cert, chain) == 1;
	if (!ok) {
		X509_STORE_CTX_free(s);
		return complain(reason, -ENOMEM, "out of memory");
	}
	ok = X509_verify_cert(s) == 1;
	if (!ok) {
		char whose[PATH_MAX + 16];

		snprintf(whose, sizeof(whose), "%.200s: our", path);
		explain(s, whose, "", reason);
	}
	X509_STORE_CTX_free(s);
	id->expires = seconds_of(X509_get0_notAfter(cert));
	return ok ? 0 : -EINVAL;
}

static int select_alpn(SSL *ssl, const unsigned char **out, unsigned char *n,
	const unsigned char *in, unsigned n_in, void *arg)
{
	const struct tls *t = SSL_get_app_data(ssl);
	unsigned char *found;

	if (SSL_select_next_proto(&found, n, (const unsigned char *)t->alpn,
		    (unsigned)t->alpn[0] + 1, in, n_in) != OPENSSL_NPN_NEGOTIATED)
		return SSL_TLSEXT_ERR_ALERT_FATAL;
	*out = (const unsigned char *)t->alpn + 1;
	return SSL_TLSEXT_ERR_OK;
}

static int on_verify(int ok, X509_STORE_CTX *s)
{
	SSL *ssl = X509_STORE_CTX_get_ex_data(s, SSL_get_ex_data_X509_STORE_CTX_idx());
	struct tls *t = SSL_get_app_data(ssl);

	if (!ok && !t->reason[0])
		explain(s, "the other side's", t->name, t->reason);
	return ok;
}

static int identity_load(struct identity *id, char *const paths[N_FILES], char *reason)
{
	STACK_OF(X509_NAME) * names;
	int r;

	*id = (struct identity){0};
	for (int i = 0; i < N_FILES; i++) {
		r = read_stamp(paths[i], &id->stamps[i]);
		if (r < 0)
			return complain(reason, r, "%s: %s", paths[i], strerror(-r));
	}
	ERR_clear_error();
	id->ssl = SSL_CTX_new(TLS_method());
	if (!id->ssl)
		return complain(reason, -ENOMEM, "%s", library_says());
	SSL_CTX_set_min_proto_version(id->ssl, TLS1_3_VERSION);
	/* an end without a goodbye is an end like that of a plain socket: HTTP/2 and Vortex say
	 * themselves when something is whole */
	SSL_CTX_set_options(id->ssl, SSL_OP_IGNORE_UNEXPECTED_EOF | SSL_OP_NO_TICKET);
	SSL_CTX_set_num_tickets(id->ssl, 0);
	SSL_CTX_set_session_cache_mode(id->ssl, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_mode(id->ssl, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	SSL_CTX_set_max_cert_list(id->ssl, CHAIN_MAX);
	SSL_CTX_set_default_passwd_cb(id->ssl, no_passphrase);
	SSL_CTX_set_alpn_select_cb(id->ssl, select_alpn, NULL);
	SSL_CTX_set_verify(id->ssl, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, on_verify);
	if (SSL_CTX_load_verify_locations(id->ssl, paths[CA], NULL) != 1)
		return complain(reason, -EINVAL, "the CA %s is not a PEM certificate (%s)",
			paths[CA], library_says());
	names = SSL_load_client_CA_file(paths[CA]);
	if (!names)
		return complain(reason, -EINVAL, "the CA %s: %s", paths[CA], library_says());
	SSL_CTX_set_client_CA_list(id->ssl, names);
	if (SSL_CTX_use_certificate_chain_file(id->ssl, paths[CERT]) != 1)
		return complain(reason, -EINVAL, "the certificate %s is not PEM (%s)", paths[CERT],
			library_says());
	r = use_key(id->ssl, paths[KEY], reason);
	return r < 0 ? r : check_own(id, paths[CERT], reason);
}

static void ignore_sigpipe(void)
{
	struct sigaction a;

	if (!sigaction(SIGPIPE, NULL, &a) && a.sa_handler == SIG_DFL)
		signal(SIGPIPE, SIG_IGN); /* OpenSSL writes with write(2) */
}

int tls_context_new(struct tls_context **out, const struct tls_files *files, char *reason)
{
	struct tls_context *c = calloc(1, sizeof(*c));
	const char *paths[N_FILES] = {files->ca, files->cert, files->key};
	int r = 0;

	if (!c)
		return complain(reason, -ENOMEM, "out of memory");
	c->n_refs = 1;
	list_init(&c->shaking);
	for (int i = 0; i < N_FILES && r == 0; i++) {
		c->paths[i] = strdup(paths[i]);
		if (!c->paths[i])
			r = complain(reason, -ENOMEM, "out of memory");
	}
	if (r == 0)
		r = identity_load(&c->id, c->paths, reason);
	if (r < 0) {
		tls_context_unref(c);
		return r;
	}
	ignore_sigpipe();
	*out = c;
	return 0;
}

int tls_context_reload(struct tls_context *c, char *reason)
{
	struct identity id;
	int r = identity_load(&id, c->paths, reason);

	if (r < 0) {
		SSL_CTX_free(id.ssl);
		return r;
	}
	SSL_CTX_free(c->id.ssl); /* connections hold their own reference */
	c->id = id;
	return 0;
}

bool tls_context_has_changed(const struct tls_context *c)
{
	struct stamp s;

	for (int i = 0; i < N_FILES; i++) {
		read_stamp(c->paths[i], &s);
		if (!is_same_stamp(&s, &c->id.stamps[i]))
			return true;
	}
	return false;
}

int64_t tls_context_expires(const struct tls_context *c)
{
	return c->id.expires;
}

struct tls_context *tls_context_ref(struct tls_context *c)
{
	if (c)
		c->n_refs++;
	return c;
}

struct tls_context *tls_context_unref(struct tls_context *c)
{
	if (!c || --c->n_refs)
		return NULL;
	SSL_CTX_free(c->id.ssl);
	for (int i = 0; i < N_FILES; i++)
		free(c->paths[i]);
	free(c);
	return NULL;
}

/* ---- connections ------------------------------------------------------------------------------- */

static struct tls *tls_new(struct tls_context *c, int fd, const char *alpn)
{
	struct tls *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	list_init(&t->shaking);
	t->fd = fd;
	t->events = POLLIN;
	t->alpn[0] = (char)snprintf(t->alpn + 1, sizeof(t->alpn) - 1, "%s", alpn);
	t->ssl = SSL_new(c->id.ssl);
	if (!t->ssl || SSL_set_fd(t->ssl, fd) != 1) {
		SSL_free(t->ssl);
		free(t);
		return NULL;
	}
	SSL_set_app_data(t->ssl, t);
	t->context = tls_context_ref(c);
	return t;
}

static void handshake_over(struct tls *t)
{
	if (list_empty(&t->shaking))
		return;
	list_del(&t->shaking);
	list_init(&t->shaking);
	t->context->n_shaking--;
}

struct tls *tls_accept(struct tls_context *c, int fd, const char *alpn)
{
	struct tls *t = tls_new(c, fd, alpn);

	if (!t)
		return NULL;
	SSL_set_accept_state(t->ssl);
	if (c->n_shaking == TLS_HANDSHAKES_MAX) {
		struct tls *oldest = container_of(c->shaking.next, struct tls, shaking);

		handshake_over(oldest);
		shutdown(oldest->fd, SHUT_RDWR); /* its owner hears of it as of any other end */
	}
	list_push(&c->shaking, &t->shaking);
	c->n_shaking++;
	return t;
}

struct tls *tls_connect(struct tls_context *c, int fd, const char *alpn, const char *name)
{
	struct tls *t = tls_new(c, fd, alpn);
	X509_VERIFY_PARAM *param;
	int ok;

	if (!t)
		return NULL;
	snprintf(t->name, sizeof(t->name), "%s", name);
	SSL_set_connect_state(t->ssl);
	param = SSL_get0_param(t->ssl);
	if (X509_VERIFY_PARAM_set1_ip_asc(param, name) == 1) {
		ok = 1;
	} else {
		X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
		ok = X509_VERIFY_PARAM_set1_host(param, name, 0) == 1 &&
		     SSL_set_tlsext_host_name(t->ssl, name) == 1;
	}
	/* 0 is success here, unlike everywhere else */
	if (!ok || SSL_set_alpn_protos(t->ssl, (unsigned char *)t->alpn, (unsigned)t->alpn[0] + 1))
		return tls_free(t);
	return t;
}

struct tls *tls_free(struct tls *t)
{
	if (!t)
		return NULL;
	handshake_over(t);
	ERR_clear_error();
	if (t->is_open && !t->error && !t->write_error && !t->n_out)
		SSL_shutdown(t->ssl);
	SSL_free(t->ssl);
	tls_context_unref(t->context);
	free(t->out);
	free(t);
	return NULL;
}

void tls_allow_kernel(struct tls *t)
{
	SSL_set_options(t->ssl, SSL_OP_ENABLE_KTLS);
}

bool tls_in_kernel(const struct tls *t)
{
	return t->is_open && BIO_get_ktls_send(SSL_get_wbio(t->ssl));
}

/* alert_text - what the other side's refusal means */
static const char *alert_text(int alert)
{
	switch (alert) {
	case SSL_AD_UNKNOWN_CA:
		return "our certificate is not from its CA";
	case SSL_AD_CERTIFICATE_EXPIRED:
		return "our certificate has expired";
	case SSL_AD_CERTIFICATE_REVOKED:
		return "our certificate is revoked";
	case SSL_AD_BAD_CERTIFICATE:
	case SSL_AD_UNSUPPORTED_CERTIFICATE:
	case SSL_AD_CERTIFICATE_UNKNOWN:
		return "it does not accept our certificate";
	case SSL_AD_CERTIFICATE_REQUIRED:
		return "it wants a certificate";
	case SSL_AD_NO_APPLICATION_PROTOCOL:
		return "it does not speak this protocol (ALPN)";
	case SSL_AD_PROTOCOL_VERSION:
		return "it has no TLS 1.3";
	default:
		return SSL_alert_desc_string_long(alert);
	}
}

static int fail(struct tls *t, int e, const char *reason)
{
	handshake_over(t);
	t->error = e;
	if (reason && !t->reason[0])
		snprintf(t->reason, sizeof(t->reason), "%s", reason);
	return e;
}

static int fail_ssl(struct tls *t)
{
	unsigned long code = ERR_peek_error();
	int why = ERR_GET_LIB(code) == ERR_LIB_SSL ? ERR_GET_REASON(code) : 0;
	char text[TLS_REASON];

	switch (why) {
	case SSL_R_HTTP_REQUEST:
	case SSL_R_WRONG_VERSION_NUMBER:
		return fail(t, -EPROTO, "the other side speaks plaintext and TLS is required");
	case SSL_R_UNSUPPORTED_PROTOCOL:
	case SSL_R_TLSV1_ALERT_PROTOCOL_VERSION:
		return fail(t, -EPROTO, "the other side has no TLS 1.3");
	case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE:
		return fail(t, -EPROTO, "the other side has no certificate");
	case SSL_R_NO_APPLICATION_PROTOCOL:
		snprintf(
			text, sizeof(text), "the other side does not speak %s (ALPN)", t->alpn + 1);
		return fail(t, -EPROTO, text);
	}
	if (why >= ALERTS)
		snprintf(text, sizeof(text), "the other side refuses TLS with us: %s",
			alert_text(why - ALERTS));
	else
		snprintf(text, sizeof(text), "TLS: %s", library_says());
	return fail(t, -EPROTO, text);
}

/* outcome - of an operation that returned @r: 0 for the end of the stream, -EAGAIN, or the failure */
static int outcome(struct tls *t, int r, int error)
{
	switch (SSL_get_error(t->ssl, r)) {
	case SSL_ERROR_WANT_READ:
		t->events = POLLIN;
		return -EAGAIN;
	case SSL_ERROR_WANT_WRITE:
		t->events = POLLOUT;
		return -EAGAIN;
	case SSL_ERROR_ZERO_RETURN:
		break;
	case SSL_ERROR_SYSCALL:
		if (error)
			return fail(t, -error, NULL);
		break;
	default:
		return fail_ssl(t);
	}
	if (!t->is_open)
		return fail(t, -ECONNRESET, "the other side hung up in the TLS handshake");
	t->is_over = true;
	return 0;
}

static void note_peer(struct tls *t)
{
	X509 *cert = SSL_get1_peer_certificate(t->ssl);
	const X509_NAME *name = cert ? X509_get_subject_name(cert) : NULL;
	BIO *bio = BIO_new(BIO_s_mem());
	int n = 0;

	if (name && bio && X509_NAME_print_ex(bio, name, 0, XN_FLAG_RFC2253) > 0)
		n = BIO_read(bio, t->peer, sizeof(t->peer) - 1);
	t->peer[n > 0 ? n : 0] = 0;
	if (!t->peer[0])
		snprintf(t->peer, sizeof(t->peer), "-");
	BIO_free(bio);
	X509_free(cert);
}

/* check_open - the handshake may have ended in the operation that was just done; 0 or the failure */
static int check_open(struct tls *t)
{
	const unsigned char *alpn;
	unsigned n;

	if (t->is_open || t->error || !SSL_is_init_finished(t->ssl))
		return t->error;
	SSL_get0_alpn_selected(t->ssl, &alpn, &n);
	if (n != (unsigned)t->alpn[0] || memcmp(alpn, t->alpn + 1, n) != 0) {
		char text[128];

		snprintf(
			text, sizeof(text), "the other side does not speak %s (ALPN)", t->alpn + 1);
		return fail(t, -EPROTO, text);
	}
	if (SSL_get_verify_result(t->ssl) != X509_V_OK)
		return fail(t, -EPROTO, "the other side is not verified");
	note_peer(t);
	handshake_over(t);
	t->is_open = true;
	return 0;
}

/* write_record - 0 when the socket has it all */
static int write_record(struct tls *t, const void *p, size_t n)
{
	int r, e;

	if (t->error || t->write_error)
		return t->error ? t->error : t->write_error;
	ERR_clear_error();
	errno = 0;
	r = SSL_write(t->ssl, p, (int)n);
	e = errno;
	if (check_open(t))
		return t->error;
	if (r > 0)
		return 0;
	if (SSL_get_error(t->ssl, r) == SSL_ERROR_SYSCALL && e) {
		t->write_error = -e;
		return -e;
	}
	r = outcome(t, r, e);
	return r ? r : fail(t, -EPIPE, NULL);
}

int tls_flush(struct tls *t)
{
	int r;

	if (!t->n_out)
		return 0;
	r = write_record(t, t->out, t->n_out);
	if (r != -EAGAIN) {
		t->n_out = 0;
		free(t->out);
		t->out = NULL;
	}
	return r;
}

/* push_out - who waits for an answer does not write: what it sent before the handshake was over goes
 * out here. -EAGAIN, for reading and perhaps for writing, or a failure. */
static int push_out(struct tls *t)
{
	short events = t->events;
	int r = tls_flush(t);

	t->events = r == -EAGAIN ? (short)(events | t->events) : events;
	return r ? r : -EAGAIN;
}

ssize_t tls_read(struct tls *t, void *p, size_t n)
{
	size_t got = 0;

	while (got < n && !t->error && !t->is_over) {
		size_t left = n - got;
		int r, e;

		ERR_clear_error();
		errno = 0;
		r = SSL_read(t->ssl, (uint8_t *)p + got, left < INT_MAX ? (int)left : INT_MAX);
		e = errno;
		if (check_open(t))
			break;
		if (r <= 0) {
			e = outcome(t, r, e);
			if (e == -EAGAIN && t->is_open)
				e = push_out(t);
			if (!got)
				return e;
			break; /* what is remembered is told the next time */
		}
		got += (size_t)r;
	}
	if (got)
		return (ssize_t)got;
	return t->error;
}

ssize_t tls_write(struct tls *t, const void *p, size_t n)
{
	int r = tls_flush(t);

	if (r)
		return r;
	if (n > TLS_RECORD)
		n = TLS_RECORD;
	if (!n)
		return 0;
	r = write_record(t, p, n);
	if (r != -EAGAIN)
		return r ? r : (ssize_t)n;
	/* OpenSSL must be given the very same bytes again, and the caller's may change: HTTP/2 takes
	 * back what it queued when a call is cancelled */
	t->out = malloc(n);
	if (!t->out)
		return fail(t, -ENOMEM, NULL);
	memcpy(t->out, p, n);
	t->n_out = n;
	return (ssize_t)n;
}

ssize_t tls_writev(struct tls *t, const struct iovec *iov, int n)
{
	uint8_t record[TLS_RECORD];
	size_t fill = 0;

	if (n == 1 || (n && iov[0].iov_len >= sizeof(record)))
		return tls_write(t, iov[0].iov_base, iov[0].iov_len);
	for (int i = 0; i < n && fill < sizeof(record); i++) {
		size_t k = sizeof(record) - fill;

		if (iov[i].iov_len < k)
			k = iov[i].iov_len;
		memcpy(record + fill, iov[i].iov_base, k);
		fill += k;
	}
	return tls_write(t, record, fill);
}

short tls_events(const struct tls *t)
{
	return t->events;
}

bool tls_has_pending(const struct tls *t)
{
	return t->error || t->is_over || SSL_has_pending(t->ssl);
}

bool tls_is_open(const struct tls *t)
{
	return t->is_open;
}

const char *tls_peer(const struct tls *t)
{
	return t->is_open ? t->peer : "";
}

const char *tls_reason(const struct tls *t)
{
	return t->reason;
}

/* ---- on a loop --------------------------------------------------------------------------------- */

static ssize_t try_again(struct tls *t, const struct wait *w)
{
	return w == &t->recv ? tls_read(t, w->p, w->n) : tls_write(t, w->p, w->n);
}

static void begin(struct tls *t, struct loop *l, struct wait *w)
{
	struct loop_op *op = w->op;
	ssize_t r = try_again(t, w);

	if (r == -EAGAIN) {
		loop_poll(l, op, w->fd, t->events);
	} else {
		w->op = NULL;
		loop_post(l, op, (int)r);
	}
}

void tls_recv(struct tls *t, struct loop *l, struct loop_op *op, int fd, void *p, size_t n)
{
	if (!t) {
		loop_recv(l, op, fd, p, n);
		return;
	}
	t->recv = (struct wait){.op = op, .fd = fd, .p = p, .n = n};
	begin(t, l, &t->recv);
}

void tls_send(struct tls *t, struct loop *l, struct loop_op *op, int fd, const void *p, size_t n)
{
	if (!t) {
		loop_send(l, op, fd, p, n);
		return;
	}
	t->send = (struct wait){.op = op, .fd = fd, .p = (void *)p, .n = n};
	begin(t, l, &t->send);
}

bool tls_again(struct tls *t, struct loop *l, struct loop_op *op, int *res)
{
	struct wait *w;
	ssize_t r;

	if (!t)
		return false;
	w = t->recv.op == op ? &t->recv : t->send.op == op ? &t->send : NULL;
	if (!w)
		return false;
	w->op = NULL;
	if (*res < 0)
		return false;
	r = try_again(t, w);
	if (r == -EAGAIN) {
		w->op = op;
		loop_poll(l, op, w->fd, t->events);
		return true;
	}
	*res = (int)r;
	return false;
}
