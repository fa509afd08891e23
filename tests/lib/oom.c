/* SPDX-License-Identifier: GPL-2.0-or-later */
/* oom.c — see oom.h; glibc sends its own calls of malloc() (strdup, fopen …) through these too */
#include "tests/lib/oom.h"

#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>

static _Thread_local struct {
	unsigned left; /* 0 = nothing fails; 1 = the next one does */
	bool hit, spares_libraries;
} oom;

static bool is_everywhere;
static atomic_uint all_left;
static atomic_bool all_hit;

void oom_start(unsigned nth)
{
	oom.hit = false;
	atomic_store(&all_hit, false);
	if (is_everywhere)
		atomic_store(&all_left, nth);
	else
		oom.left = nth;
}

void oom_stop(void)
{
	oom.left = 0;
	atomic_store(&all_left, 0);
}

void oom_everywhere(bool on)
{
	is_everywhere = on;
}

void oom_spare_libraries(bool spare)
{
	oom.spares_libraries = spare;
}

bool oom_hit(void)
{
	return oom.hit || atomic_load(&all_hit);
}

bool oom_works(void)
{
	/* through a pointer: the compiler believes that malloc() itself cannot change our state */
	void *(*volatile alloc)(size_t) = malloc;
	void *p;

	oom_start(1);
	p = alloc(1);
	oom_stop();
	free(p);
	return oom_hit();
}

#ifndef WITH_SAN
void *__libc_malloc(size_t n);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t n);

extern const char __executable_start[], etext[]; /* the linker's */

static bool fails_everywhere(void)
{
	unsigned left = atomic_load(&all_left);

	while (left && !atomic_compare_exchange_weak(&all_left, &left, left - 1))
		;
	if (left != 1)
		return false;
	atomic_store(&all_hit, true);
	errno = ENOMEM;
	return true;
}

static bool fails(const void *caller)
{
	if (is_everywhere)
		return fails_everywhere();
	if (!oom.left || (oom.spares_libraries && ((const char *)caller < __executable_start ||
							  (const char *)caller >= etext)))
		return false;
	if (--oom.left)
		return false;
	oom.hit = true;
	errno = ENOMEM;
	return true;
}

__attribute__((visibility("default"))) void *malloc(size_t n)
{
	return fails(__builtin_return_address(0)) ? NULL : __libc_malloc(n);
}

__attribute__((visibility("default"))) void *calloc(size_t n, size_t size)
{
	return fails(__builtin_return_address(0)) ? NULL : __libc_calloc(n, size);
}

__attribute__((visibility("default"))) void *realloc(void *p, size_t n)
{
	return fails(__builtin_return_address(0)) ? NULL : __libc_realloc(p, n);
}
#endif
