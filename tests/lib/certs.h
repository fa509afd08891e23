/* SPDX-License-Identifier: GPL-2.0-or-later */
/* certs.h — certificates for tests, made when they are needed. Failures abort. */
#ifndef TESTS_LIB_CERTS_H
#define TESTS_LIB_CERTS_H

struct tls_context;

/* certs_ca - DIR/NAME.pem and DIR/NAME.key: a CA */
void certs_ca(const char *dir, const char *name);
/* certs_issue - DIR/NAME.pem and DIR/NAME.key, signed by DIR/CA; @san as OpenSSL writes it ("IP:127.0.0.1",
 * "DNS:a"); valid from @from_sec to @to_sec, counted from now; @eku "" = none */
void certs_issue(const char *dir, const char *ca, const char *name, const char *san,
	const char *eku, long from_sec, long to_sec);
/* certs_context - a context of DIR/CA, DIR/NAME */
struct tls_context *certs_context(const char *dir, const char *ca, const char *name);
/* certs_dir - a new folder under $TMPDIR with "ca", "a" and "b" (of ca, for 127.0.0.1); certs_remove()
 * deletes it and frees the name */
char *certs_dir(void);
void certs_remove(char *dir);

#endif
