/* SPDX-License-Identifier: GPL-2.0-or-later */
/* oom.h — fail the Nth allocation, in a loop until none fails.
 *
 *	OOM_FOR_EACH(n) {
 *		r = thing_new(&x);
 *		oom_stop();
 *		assert(r == 0 || r == -ENOMEM);
 *		…
 *	}
 *
 * The body runs with the 1st, 2nd, … allocation failing once, and ends after the run in which none
 * failed. Allocations of this thread only, unless oom_everywhere(). A test that includes this replaces malloc() and its kin
 * in its program; sanitizers and valgrind need them for themselves, then the body runs once.
 */
#ifndef TESTS_LIB_OOM_H
#define TESTS_LIB_OOM_H

#include <stdbool.h>

/* oom_start - the @nth allocation from now on fails */
void oom_start(unsigned nth);
/* oom_stop - all succeed again; safe twice */
void oom_stop(void);
/* oom_works - can allocations be made to fail in this run? (Not with sanitizers or valgrind.) */
bool oom_works(void);
/* oom_hit - did one fail since oom_start()? */
bool oom_hit(void);
/* oom_spare_libraries - only calls from the program itself fail, for the sake of libraries that do
 * not survive it (libnghttp2 1.52 frees twice after a failure in its header compression) */
void oom_spare_libraries(bool spare);

/* oom_everywhere - from the next oom_start() on, the allocations of all threads count */
void oom_everywhere(bool on);

#define OOM_FOR_EACH(n)                                                                            \
	for (unsigned n = 1, n##_again = 1; n##_again && (oom_start(n), true);                     \
		oom_stop(), n##_again = oom_hit(), n++)

#endif
