/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/lib/certs.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "common/path.h"
#include "common/tls.h"

#define NEED(x)                                                                                    \
	do {                                                                                       \
		if (!(x)) {                                                                        \
			fprintf(stderr, "certs: %s failed\n", #x);                                 \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

static FILE *file(const char *dir, const char *name, const char *ext, const char *mode)
{
	char path[PATH_MAX];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s.%s", dir, name, ext);
	f = fopen(path, mode);
	NEED(f);
	if (*mode == 'w')
		NEED(fchmod(fileno(f), 0600) == 0);
	return f;
}

static void extend(X509 *cert, X509 *issuer, int nid, const char *value)
{
	X509V3_CTX ctx;
	X509_EXTENSION *e;

	X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
	e = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	NEED(e && X509_add_ext(cert, e, -1) == 1);
	X509_EXTENSION_free(e);
}

static X509 *new_cert(const char *name, EVP_PKEY *key, long from_sec, long to_sec)
{
	static long serial;
	X509 *x = X509_new();

	NEED(x && X509_set_version(x, 2) == 1);
	ASN1_INTEGER_set(X509_get_serialNumber(x), ++serial);
	X509_gmtime_adj(X509_getm_notBefore(x), from_sec);
	X509_gmtime_adj(X509_getm_notAfter(x), to_sec);
	X509_set_pubkey(x, key);
	X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC,
		(const unsigned char *)name, -1, -1, 0);
	return x;
}

static void save(const char *dir, const char *name, X509 *x, EVP_PKEY *key)
{
	FILE *f = file(dir, name, "pem", "w");

	NEED(PEM_write_X509(f, x) == 1);
	fclose(f);
	f = file(dir, name, "key", "w");
	NEED(PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL) == 1);
	fclose(f);
}

void certs_ca(const char *dir, const char *name)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *x = new_cert(name, key, -60, 86400);

	X509_set_issuer_name(x, X509_get_subject_name(x));
	extend(x, x, NID_basic_constraints, "critical,CA:TRUE");
	extend(x, x, NID_subject_key_identifier, "hash");
	NEED(X509_sign(x, key, EVP_sha256()) > 0);
	save(dir, name, x, key);
	X509_free(x);
	EVP_PKEY_free(key);
}

void certs_issue(const char *dir, const char *ca, const char *name, const char *san,
	const char *eku, long from_sec, long to_sec)
{
	FILE *f = file(dir, ca, "pem", "r");
	X509 *issuer = PEM_read_X509(f, NULL, NULL, NULL), *x;
	EVP_PKEY *ca_key, *key = EVP_EC_gen("P-256");

	fclose(f);
	f = file(dir, ca, "key", "r");
	ca_key = PEM_read_PrivateKey(f, NULL, NULL, NULL);
	fclose(f);
	NEED(issuer && ca_key && key);
	x = new_cert(name, key, from_sec, to_sec);
	X509_set_issuer_name(x, X509_get_subject_name(issuer));
	extend(x, issuer, NID_subject_alt_name, san);
	if (*eku)
		extend(x, issuer, NID_ext_key_usage, eku);
	extend(x, issuer, NID_authority_key_identifier, "keyid");
	NEED(X509_sign(x, ca_key, EVP_sha256()) > 0);
	save(dir, name, x, key);
	X509_free(x);
	X509_free(issuer);
	EVP_PKEY_free(key);
	EVP_PKEY_free(ca_key);
}

struct tls_context *certs_context(const char *dir, const char *ca, const char *name)
{
	char c[PATH_MAX], p[PATH_MAX], k[PATH_MAX], reason[TLS_REASON];
	struct tls_files f = {.ca = c, .cert = p, .key = k};
	struct tls_context *out = NULL;

	snprintf(c, sizeof(c), "%s/%s.pem", dir, ca);
	snprintf(p, sizeof(p), "%s/%s.pem", dir, name);
	snprintf(k, sizeof(k), "%s/%s.key", dir, name);
	if (tls_context_new(&out, &f, reason)) {
		fprintf(stderr, "certs: %s\n", reason);
		abort();
	}
	return out;
}

char *certs_dir(void)
{
	const char *tmp = getenv("TMPDIR");
	char *dir;

	NEED(asprintf(&dir, "%s/certs.XXXXXX", tmp ? tmp : "/tmp") > 0 && mkdtemp(dir));
	certs_ca(dir, "ca");
	certs_issue(dir, "ca", "a", "IP:127.0.0.1,DNS:a.test", "", -60, 86400);
	certs_issue(dir, "ca", "b", "IP:127.0.0.1,DNS:b.test", "", -60, 86400);
	return dir;
}

void certs_remove(char *dir)
{
	char *slash = strrchr(dir, '/');
	int parent;

	*slash = 0;
	parent = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	NEED(parent >= 0 && path_remove_tree(parent, slash + 1, NULL) == 0);
	close(parent);
	free(dir);
}
