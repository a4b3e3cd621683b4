/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Places where a test may end this process, or stop it: at every step boundary and around every
 * side effect. Built with -Dfailpoints=true only; otherwise a call is nothing at all.
 *
 * Names are literals, "job.what-has-just-happened", made of [a-z0-9.-], each used once: tests find
 * them in the sources. What the environment says (docs/testing.md):
 *
 *     VMSNAP_FAILPOINT=NAME[:N][=kill|stop]   at the N-th time (1) that NAME is reached
 *     VMSNAP_FAILPOINT_REACHED=FILE           stop: NAME is written there first, durable
 *     VMSNAP_FAILPOINT_TRACE=FILE             each name that is reached is appended, one a line
 *
 * kill is SIGKILL of this process, stop its SIGSTOP; after a SIGCONT it goes on. */
#pragma once

#ifdef VMS_FAILPOINTS
/* Thread-safe. Aborts with a sentence where the environment is malformed. */
void vms_failpoint(const char *name);
#else
#define vms_failpoint(name) ((void)0)
#endif
