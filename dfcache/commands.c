/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "dfcache/commands.h"

#include <limits.h>
#include <string.h>

#include "common/cleanup.h"

#define ENDPOINT                                                                                   \
	{                                                                                          \
		"endpoint", 'e', OPT_PATH, "PATH", "/var/run/dragonfly/dfdaemon.sock",             \
			"DFDAEMON_ENDPOINT", "endpoint", .help = "Unix socket of dfdaemon."        \
	}
/* a --config is looked for before anything else is read, so it has no key */
#define CONFIG                                                                                     \
	{                                                                                          \
		"config", 0, OPT_PATH, "PATH",                                                     \
			.help = "Configuration file to take defaults from. Without it "            \
				"/etc/dragonfly/dfcache.conf is read if it exists; the "           \
				"environment variable DFCACHE_CONFIG names another one. Only the " \
				"section [dfcache] is looked at."                                  \
	}
#define LOGGING                                                                                     \
	{"log-level", 'l', OPT_LEVEL, "LEVEL", "info", "LOG_LEVEL", "log_level",                    \
		.help = "Least important level to log: error, warn, info, debug or trace."},        \
		{"log-dir", 0, OPT_PATH, "PATH", "/var/log/dragonfly/dfcache", NULL, "log_dir",     \
			.help = "Directory of the log file dfcache.log. It is made if missing; "    \
				"when it cannot be written that is a warning, not a failure, and "  \
				"for an ordinary user who named none only when the command fails. " \
				"An empty path means no log file."},                                \
		{"log-max-files", 0, OPT_U64, "N", "6", NULL, "log_max_files",                      \
			.help = "Number of old log files to keep. The log is rotated every hour: "  \
				"dfcache.log.1 is the youngest old one."},                          \
		{"console", 0, OPT_FLAG, .env = "CONSOLE", .key = "console", .alias = "verbose",    \
			.help = "Also print the log to standard error."},                           \
		CONFIG
#define JSON                                                                                       \
	{                                                                                          \
		"json", 0, OPT_FLAG,                                                               \
			.key = "json",                                                             \
			.help = "Print the result, or the error, as JSON on standard output."      \
	}
#define NO_PROGRESS                                                                                \
	{                                                                                          \
		"no-progress", 0, OPT_FLAG,                                                        \
			.env = "NO_PROGRESS", .key = "no_progress",                                \
			.help = "Draw no progress, also when standard error is a terminal."        \
	}

static const struct opt import_opts[] = {
	{"content-for-calculating-task-id", 0, OPT_STRING, "TEXT",
		.env = "CONTENT_FOR_CALCULATING_TASK_ID",
		.help = "Make the task id of this text instead of the content. Tag, application "
			"and piece length count too. Two imports of the same text are one task, so "
			"the text must stand for the content."},
	{"persistent-replica-count", 0, OPT_U64, "N", "2", "PERSISTENT_REPLICA_COUNT",
		"persistent_replica_count",
		.help = "Number of replicas to keep until the ttl is over, this node's included."},
	{"piece-length", 0, OPT_SIZE, "SIZE", NULL, "PIECE_LENGTH", "piece_length",
		.help = "Length of a piece, at least 4MiB. Without it the daemon chooses by the "
			"size of the file. It is part of the task id when given."},
	{"application", 0, OPT_STRING, "TEXT", NULL, "APPLICATION", "application",
		.help = "Application that the task belongs to. It is part of the task id."},
	{"tag", 0, OPT_STRING, "TEXT", NULL, "TAG", "tag",
		.help = "Tag of the task, for tasks that differ in nothing else. It is part of the "
			"task id."},
	{"ttl", 0, OPT_DURATION, "DURATION", "1h", "TTL", "ttl",
		.help = "How long the replicas are kept, 1m to 7d. The cluster may ask for at "
			"least 5m and says so then."},
	{"timeout", 0, OPT_DURATION, "DURATION", "30m", "TIMEOUT", "import_timeout",
		.help = "Give up after this time."},
	{"wait", 0, OPT_FLAG, .key = "wait",
		.help = "Return only when all replicas exist, within --timeout."},
	{"recursive", 'r', OPT_FLAG,
		.help = "Import directories with all they contain. The result is the id of a "
			"manifest that names every file; export it with --recursive. Several paths "
			"make a manifest too."},
	NO_PROGRESS,
	JSON,
	ENDPOINT,
	LOGGING,
};

static const struct opt export_opts[] = {
	{"output", 'O', OPT_PATH, "PATH", .is_required = true,
		.help = "File to make, or directory with --recursive. It appears whole or not at "
			"all; its directory must exist."},
	{"transfer-from-dfdaemon", 0, OPT_FLAG, .env = "TRANSFER_FROM_DFDAEMON",
		.key = "transfer_from_dfdaemon",
		.help = "Receive the content over the socket and write it here, instead of passing "
			"the open file to the daemon. Zeros become holes."},
	{"overwrite", 0, OPT_FLAG, .env = "OVERWRITE", .key = "overwrite",
		.help = "Replace the output if it exists, atomically."},
	{"force-hard-link", 0, OPT_FLAG, .env = "FORCE_HARD_LINK", .key = "force_hard_link",
		.help = "Make the output a hard link of the cache's file, or fail. No byte is "
			"copied; the output is read-only, not yours, and must be on the cache's "
			"file system."},
	{"application", 0, OPT_STRING, "TEXT", "", "APPLICATION",
		.help = "Application that exports, for the daemon's metrics and lists."},
	{"tag", 0, OPT_STRING, "TEXT", "", "TAG",
		.help = "Tag of the export, for the daemon's metrics and lists."},
	{"timeout", 0, OPT_DURATION, "DURATION", "2h", "TIMEOUT", "export_timeout",
		.help = "Give up after this time."},
	{"digest", 0, OPT_DIGEST, "ALGORITHM:VALUE",
		.help = "Compare the whole output before it appears: crc32, sha256 or sha512."},
	{"recursive", 'r', OPT_FLAG,
		.help = "The task is a manifest made by import --recursive: export the tree."},
	NO_PROGRESS,
	JSON,
	ENDPOINT,
	LOGGING,
};

static const struct opt stat_opts[] = {JSON, ENDPOINT, LOGGING};

static const struct opt list_opts[] = {
	{"cluster", 'c', OPT_FLAG,
		.help = "Ask the scheduler about each task too, its state and replicas, and list the "
			"tasks that only other nodes hold."},
	{"application", 0, OPT_STRING, "TEXT", .help = "Only tasks of this application."},
	{"tag", 0, OPT_STRING, "TEXT", .help = "Only tasks with this tag."},
	JSON,
	ENDPOINT,
	LOGGING,
};

static const struct opt remove_opts[] = {
	{"local", 0, OPT_FLAG,
		.help = "Remove only the copy on this node; the task lives on elsewhere."},
	JSON,
	ENDPOINT,
	LOGGING,
};

static const struct opt plain_opts[] = {JSON, ENDPOINT, LOGGING};
static const struct opt config_opts[] = {JSON, CONFIG};

const struct command commands[] = {
	{"import", "<PATH>...", 1, UINT_MAX,
		"Import a file into the P2P cache and print its task id.",
		"The file is opened here, with your rights, and handed to dfdaemon as an open "
		"descriptor. The task id goes to standard output.",
		"  dfcache import --ttl 7d --persistent-replica-count 3 model.bin\n"
		"  id=$(dfcache import --recursive checkpoint/)\n",
		import_opts, ARRAY_SIZE(import_opts), import_run},
	{"export", "<ID>", 1, 1, "Export a task to a file and print the path.",
		"The output is made here, with your rights, owner and umask, and filled by "
		"dfdaemon: by reflink where the file system can, else by copy.",
		"  dfcache export 2229733261 -O model.bin\n"
		"  dfcache export --recursive 3421780262 -O checkpoint\n",
		export_opts, ARRAY_SIZE(export_opts), export_run},
	{"stat", "<ID>", 1, 1, "Show what the cluster knows about a task.",
		"With --json also its replicas, who holds them, and the pieces that are here.",
		"  dfcache stat 2229733261\n", stat_opts, ARRAY_SIZE(stat_opts), stat_run},
	{"ls", "", 0, 0, "List the tasks on this node, or of the cluster.", NULL,
		"  dfcache ls --cluster --tag nightly\n", list_opts, ARRAY_SIZE(list_opts),
		list_run},
	{"rm", "<ID>...", 1, UINT_MAX, "Remove tasks: every replica of them.", NULL,
		"  dfcache rm 2229733261\n", remove_opts, ARRAY_SIZE(remove_opts), remove_run},
	{"pin", "<ID>...", 1, UINT_MAX, "Keep the copies on this node, whatever space is needed.",
		NULL, "  dfcache pin 2229733261\n", plain_opts, ARRAY_SIZE(plain_opts), pin_run},
	{"unpin", "<ID>...", 1, UINT_MAX,
		"Let the copies on this node be removed when space is needed.", NULL,
		"  dfcache unpin 2229733261\n", plain_opts, ARRAY_SIZE(plain_opts), unpin_run},
	{"ttl", "<ID> <DURATION>", 2, 2, "Let a task live for DURATION from now.", NULL,
		"  dfcache ttl 2229733261 3d\n", plain_opts, ARRAY_SIZE(plain_opts), ttl_run},
	{"config", "[COMMAND]", 0, 1, "Show every setting, and where it comes from.",
		"For one command, or for all. The order of precedence is: option, environment "
		"variable, configuration file, default.",
		"  dfcache config import\n", config_opts, ARRAY_SIZE(config_opts), config_run},
	{"completion", "<SHELL>", 1, 1, "Print a completion script for bash, zsh or fish.", NULL,
		"  dfcache completion bash > /usr/share/bash-completion/completions/dfcache\n",
		NULL, 0, completion_run},
};

const size_t n_commands = ARRAY_SIZE(commands);

const struct command *command_find(const char *name)
{
	for (size_t i = 0; i < n_commands; i++)
		if (!strcmp(commands[i].name, name))
			return &commands[i];
	return NULL;
}
