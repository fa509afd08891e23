/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "dfcache/session.h"

#include <string.h>

int session_begin(struct session *s, struct cli *c)
{
	int r;

	*s = (struct session){.cli = c};
	r = client_new(&s->client, cli_text(c, "endpoint"));
	if (r == 0)
		return EXIT_OK;
	failure_set(&s->failure, EXIT_FAILED, NULL, "cannot start: %s", strerror(-r));
	return session_end(s, c->command->name);
}

int session_end(struct session *s, const char *what)
{
	int signal = s->client ? client_signal(s->client) : 0, status = EXIT_OK;

	if (s->failure.status != EXIT_OK && signal) {
		failure_fini(&s->failure);
		failure_set(&s->failure, (enum exit_status)(128 + signal), NULL, "interrupted: %s",
			strsignal(signal));
	}
	if (s->failure.status != EXIT_OK)
		status = report(s->cli, what, &s->failure);
	failure_fini(&s->failure);
	s->client = client_free(s->client);
	return status;
}
