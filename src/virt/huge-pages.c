/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* QEMU lifts write-protection page by page, and the first small page that differs from its
 * neighbours splits the huge page's entry in the page table. The next snapshot then has to read and
 * protect 512 times as many entries while the guest stands still; and the guest is slower.
 *
 * MADV_COLLAPSE copies 2 MiB into a new huge page and swaps it in; the contents stay. It does not
 * ask whether anybody wants huge pages, so we do. Memory that the guest has never written stays as
 * it is: its entries are of the shared zero page, and to make those huge takes memory for nothing.
 */
#include "virt/huge-pages.h"

#include "base/error.h"
#include "virt/qemu-process.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define SYSFS "/sys/kernel/mm/transparent_hugepage/"
#define HUGE_LEN (UINT64_C(2) << 20)
#define SMALL_LEN UINT64_C(4096)
#define SMALLS (HUGE_LEN / SMALL_LEN)
#define LEAST_OWN                                                                                  \
    (SMALLS - SMALLS / 8) /* small pages that the guest has, of those of a huge one                \
                           */
#define LEAST_REST_US 200
#define MOST_FAILURES 16 /* in a row, for want of memory */

/* Bits of /proc/PID/pagemap. */
#define PAGE_PRESENT (UINT64_C(1) << 63)
#define PAGE_SWAPPED (UINT64_C(1) << 62)
#define PAGE_SHARED (UINT64_C(1) << 61)    /* or of a file */
#define PAGE_PROTECTED (UINT64_C(1) << 57) /* a snapshot is not through with it */
#define PAGE_OWN (UINT64_C(1) << 56) /* mapped once: neither the zero page nor merged by KSM */

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

typedef struct {
    uint64_t start, end; /* addresses in QEMU */
} Range;

typedef struct {
    int pid;
    int pidfd;
    int pagemap;
    int64_t end_us; /* monotonic */
    VmsProgress *progress;
    GCancellable *cancellable;
    uint64_t seen, total; /* bytes of memory */
    unsigned failures;    /* in a row */
    VmsHugePages *done;
} Work;

/* The word in brackets of "always [madvise] never" (transfer full), NULL where there is no file. */
static char *setting(const char *path)
{
    g_autofree char *text = NULL;
    if (!g_file_get_contents(path, &text, NULL, NULL))
        return NULL;
    char *word = strchr(text, '[');
    char *end = word ? strchr(word, ']') : NULL;
    return end ? g_strndup(word + 1, (gsize)(end - word - 1)) : NULL;
}

/* What the host wants: "always", "madvise" or "never". */
static char *wanted(void)
{
    char *word = setting(SYSFS "hugepages-2048kB/enabled");
    if (word && strcmp(word, "inherit") != 0)
        return word;
    g_free(word);
    word = setting(SYSFS "enabled");
    return word ? word : g_strdup("never");
}

/* Huge pages of another size (64 KiB base pages: 512 MiB) take too long to copy. */
static bool is_size_known(void)
{
    g_autofree char *text = NULL;
    return sysconf(_SC_PAGESIZE) == (long)SMALL_LEN &&
           g_file_get_contents(SYSFS "hpage_pmd_size", &text, NULL, NULL) &&
           g_ascii_strtoull(text, NULL, 10) == HUGE_LEN;
}

static bool has_flag(const char *line, const char *flag)
{
    g_auto(GStrv) flags = g_strsplit_set(line, " \t", -1);
    return g_strv_contains((const char *const *)flags, flag);
}

/* "7f0000000000-7f0100000000 rw-p 00000000 00:00 0": private memory of no file. */
static bool parse_mapping(const char *line, Range *ret_range)
{
    char *end;
    uint64_t start = g_ascii_strtoull(line, &end, 16);
    if (end == line || *end != '-')
        return false;
    uint64_t stop = g_ascii_strtoull(end + 1, &end, 16);
    ret_range->start = (start + HUGE_LEN - 1) / HUGE_LEN * HUGE_LEN;
    ret_range->end = stop / HUGE_LEN * HUGE_LEN;
    return g_str_has_prefix(end, " rw-p ") && strstr(end, " 00:00 0") &&
           ret_range->start < ret_range->end;
}

/* Of smaps: where huge pages are wanted. QEMU asks for them in all of the guest's memory. */
static GArray *find_ranges(const char *smaps, const char *want)
{
    GArray *found = g_array_new(FALSE, FALSE, sizeof(Range));
    g_auto(GStrv) lines = g_strsplit(smaps, "\n", -1);
    Range range = {0};
    bool candidate = false;
    for (char **line = lines; *line; line++) {
        if (g_ascii_isxdigit(**line) && !g_ascii_isupper(**line))
            candidate = parse_mapping(*line, &range);
        else if (g_str_has_prefix(*line, "THPeligible:"))
            candidate = candidate && strchr(*line, '1');
        else if (candidate && g_str_has_prefix(*line, "VmFlags:") && !has_flag(*line, "nh") &&
                 (has_flag(*line, "hg") || strcmp(want, "always") == 0))
            g_array_append_val(found, range);
    }
    return found;
}

/* The file with the number may be of a QEMU that has ended, and the number somebody else's now. */
static bool is_of(int pid, const VmsFacts *facts)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/cmdline", pid);
    g_autofree char *text = NULL;
    gsize len;
    return g_file_get_contents(path, &text, &len, NULL) &&
           memmem(text, len, facts->uuid, strlen(facts->uuid)) != NULL;
}

/* Small pages there that are the guest's own; 0: leave it alone. */
static unsigned count_own(const Work *work, uint64_t address)
{
    uint64_t pages[SMALLS];
    unsigned own = 0;
    if (pread(work->pagemap, pages, sizeof pages, (off_t)(address / SMALL_LEN * sizeof *pages)) !=
        (ssize_t)sizeof pages)
        return 0;
    for (unsigned i = 0; i < SMALLS; i++) {
        if (pages[i] & (PAGE_SWAPPED | PAGE_SHARED | PAGE_PROTECTED))
            return 0;
        own += (pages[i] & PAGE_PRESENT) && (pages[i] & PAGE_OWN);
    }
    return own >= LEAST_OWN ? own : 0;
}

static int collapse(const Work *work, uint64_t address, uint64_t len)
{
    struct iovec there = {.iov_base = (void *)(uintptr_t)address, .iov_len = len};
    return syscall(SYS_process_madvise, work->pidfd, &there, 1, MADV_COLLAPSE, 0) < 0 ? errno : 0;
}

static bool is_over(const Work *work)
{
    return g_get_monotonic_time() >= work->end_us || g_cancellable_is_cancelled(work->cancellable);
}

static bool restore_one(Work *work, uint64_t address, GError **error)
{
    unsigned own = count_own(work, address);
    if (own == 0)
        return true;
    int64_t start = g_get_monotonic_time();
    int failed = collapse(work, address, HUGE_LEN);
    if (failed == 0) {
        work->done->restored += HUGE_LEN;
        work->done->added += (SMALLS - own) * SMALL_LEN;
    }
    /* Other errors are of this place: a page is in use by a device, or gone meanwhile. */
    work->failures = failed == ENOMEM || failed == EBUSY ? work->failures + 1 : 0;
    if (work->failures == MOST_FAILURES)
        return vms_fail_errno(error, failed, "the host has no huge pages to give");
    g_usleep((gulong)MAX(g_get_monotonic_time() - start, LEAST_REST_US));
    return true;
}

/* No bytes: says whether the kernel can do it and lets us. */
static bool try_out(const Work *work, GError **error)
{
    int failed = work->pidfd < 0 ? errno : collapse(work, 0, 0);
    if (failed == 0)
        return true;
    if (failed == EINVAL || failed == ENOSYS)
        return vms_fail(error, VMS_ERROR_UNSUPPORTED,
                        "the kernel cannot make another process's pages huge (needs Linux 6.1)");
    return vms_fail_errno(error, failed, "QEMU, process %d", work->pid);
}

static bool restore_range(Work *work, Range range, GError **error)
{
    for (uint64_t at = range.start; at < range.end && !is_over(work); at += HUGE_LEN) {
        if (!restore_one(work, at, error))
            return false;
        work->seen += HUGE_LEN;
        vms_progress_update(work->progress, "huge pages", NULL, work->seen, work->total);
    }
    return true;
}

static bool restore_all(Work *work, const char *want, GError **error)
{
    g_autofree char *smaps = vms_qemu_proc(work->pid, "smaps");
    g_autoptr(GArray) ranges = find_ranges(smaps ? smaps : "", want);
    const Range *each = (const Range *)ranges->data;
    if (ranges->len == 0)
        return true;
    if (!try_out(work, error))
        return false;
    for (guint i = 0; i < ranges->len; i++)
        work->total += each[i].end - each[i].start;
    for (guint i = 0; i < ranges->len; i++)
        if (!restore_range(work, each[i], error))
            return false;
    return true;
}

bool vms_huge_pages_restore(const VmsFacts *facts, int64_t limit_us, VmsProgress *progress,
                            GCancellable *cancellable, VmsHugePages *ret_done, GError **error)
{
    *ret_done = (VmsHugePages){0};
    g_autofree char *want = wanted();
    Work work = {.pid = vms_qemu_pid(facts),
                 .end_us = g_get_monotonic_time() + limit_us,
                 .progress = progress,
                 .cancellable = cancellable,
                 .done = ret_done};
    if (strcmp(want, "never") == 0 || !is_size_known() || work.pid == 0)
        return true;
    g_autofree char *pagemap = g_strdup_printf("/proc/%d/pagemap", work.pid);
    work.pagemap = open(pagemap, O_RDONLY | O_CLOEXEC);
    work.pidfd = (int)syscall(SYS_pidfd_open, work.pid, 0);
    bool ok = !is_of(work.pid, facts) || restore_all(&work, want, error) ||
              vms_prefix(error, "huge pages");
    if (work.pidfd >= 0)
        close(work.pidfd);
    if (work.pagemap >= 0)
        close(work.pagemap);
    return ok;
}
