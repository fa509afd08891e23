/* SPDX-License-Identifier: GPL-2.0-or-later */
/* killat.c — SIGKILL a process at its n-th system call, to find what a crash at that instant leaves.
 *
 *   killat [-f] N COMMAND [ARG...]   run COMMAND, kill it before its N-th system call (0: never)
 *   killat [-f] -p PID N             the same for a running process, counted from now
 *   -f follows children too (all of them are killed); -x SYSCALL counts only after the first call
 *   of that number.
 *
 * Counts entries of all threads of the process in the order in which they stop. Prints "calls K" on
 * standard error when the process is over: K below N means that it ended by itself first. Exit
 * status: 0 killed at N, 3 ended before, 1 the tracing itself failed, 2 usage.
 */
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <dirent.h>
#include <unistd.h>
#include <sys/ptrace.h>
#include <sys/types.h>
#include <sys/wait.h>

static int fail(const char *what)
{
	fprintf(stderr, "killat: %s: %s\n", what, strerror(errno));
	return 1;
}

static bool seize_threads(pid_t pid, long options)
{
	char path[64], *end;
	bool any = false, again = true;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	/* threads may be born while we look: repeat until a pass finds no new one */
	while (again) {
		DIR *d = opendir(path);
		struct dirent *e;

		again = false;
		if (!d)
			return false;
		while ((e = readdir(d))) {
			pid_t tid = (pid_t)strtol(e->d_name, &end, 10);

			if (*end || tid <= 0)
				continue;
			if (ptrace(PTRACE_SEIZE, tid, 0, options) == 0) {
				ptrace(PTRACE_INTERRUPT, tid, 0, 0);
				any = again = true;
			}
		}
		closedir(d);
	}
	return any;
}

int main(int argc, char **argv)
{
	long options = PTRACE_O_TRACECLONE | PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEEXEC;
	bool follow = false, armed = true, killed = false;
	unsigned long n, calls = 0;
	long after = -1;
	pid_t pid = 0, tid;
	int opt, status;
	char *end;

	while ((opt = getopt(argc, argv, "+fp:x:")) != -1) {
		if (opt == 'f')
			follow = true;
		else if (opt == 'p')
			pid = (pid_t)atoi(optarg);
		else if (opt == 'x')
			after = atol(optarg);
		else
			return 2;
	}
	if (optind >= argc)
		return 2;
	n = strtoul(argv[optind++], &end, 10);
	if (*end || (!pid && optind >= argc))
		return 2;
	armed = after < 0;
	if (follow)
		options |= PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK;
	if (!pid) {
		options |= PTRACE_O_EXITKILL;
		pid = fork();
		if (pid < 0)
			return fail("fork");
		if (!pid) {
			raise(SIGSTOP);
			execvp(argv[optind], argv + optind);
			fprintf(stderr, "killat: %s: %s\n", argv[optind], strerror(errno));
			_exit(127);
		}
		if (waitpid(pid, &status, WUNTRACED) != pid || !WIFSTOPPED(status))
			return fail("wait for the child");
		if (ptrace(PTRACE_SEIZE, pid, 0, options))
			return fail("trace the child");
		kill(pid, SIGCONT);
	} else if (!seize_threads(pid, options)) {
		return fail("trace the process");
	}

	for (;;) {
		int deliver = 0;

		tid = waitpid(-1, &status, __WALL);
		if (tid < 0) {
			if (errno == EINTR)
				continue;
			break; /* ECHILD: nobody is left */
		}
		if (WIFEXITED(status) || WIFSIGNALED(status)) {
			if (tid == pid && !follow)
				break;
			continue;
		}
		if (WSTOPSIG(status) == (SIGTRAP | 0x80)) {
			struct __ptrace_syscall_info info;

			if (ptrace(PTRACE_GET_SYSCALL_INFO, tid, sizeof(info), &info) > 0 &&
				info.op == PTRACE_SYSCALL_INFO_ENTRY) {
				if (!armed && (long)info.entry.nr == after)
					armed = true;
				if (armed && ++calls == n && n) {
					killed = true;
					kill(pid, SIGKILL);
					if (follow && tid != pid)
						kill(tid, SIGKILL);
				}
			}
		} else if (status >> 16 == 0) {
			deliver = WSTOPSIG(status); /* a signal of its own */
		} else if (status >> 16 == PTRACE_EVENT_STOP && WSTOPSIG(status) != SIGTRAP) {
			ptrace(PTRACE_LISTEN, tid, 0, 0); /* group stop */
			continue;
		}
		ptrace(PTRACE_SYSCALL, tid, 0, deliver);
	}
	fprintf(stderr, "calls %lu\n", calls);
	return killed ? 0 : 3;
}
