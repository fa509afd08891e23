/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "dfcache/commands.h"

int main(int argc, char **argv)
{
	return dfcache_main(argc, argv);
}
