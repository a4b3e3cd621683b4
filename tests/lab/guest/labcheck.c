/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* labcheck           verify all records on both disks, print one JSON line
 * labcheck REQUEST   send it to labd and print the answer (pause, resume, state, "dirty N")
 *
 * Under a running labd the writer is held between two records meanwhile. What is read comes from
 * the disks, not from the page cache. */
#include "record.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static int connect_labd(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "/run/labd.sock"};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0)
        return fd;
    close(fd);
    return -1;
}

/* One request, one answer of one line (without its end). */
static bool ask(int fd, const char *word, char *answer, size_t size)
{
    size_t have = 0;

    if (fd < 0 || dprintf(fd, "%s\n", word) < 0)
        return false;
    while (have + 1 < size) {
        ssize_t n = read(fd, answer + have, size - 1 - have);
        if (n <= 0)
            return false;
        have += (size_t)n;
        answer[have] = '\0';
        char *end = strchr(answer, '\n');
        if (end) {
            *end = '\0';
            return true;
        }
    }
    return false;
}

static bool is_mounted(const char *path)
{
    struct stat here, above;

    return stat(path, &here) == 0 && stat("/mnt", &above) == 0 && here.st_dev != above.st_dev;
}

/* Prints one disk's object. False if its records are not a sequence without gap and tear. */
static bool check_disk(const char *folder, char disk, RecordSummary *ret)
{
    char path[64];
    bool mounted = is_mounted(folder), readable = false;
    RecordSummary s = {0};

    snprintf(path, sizeof path, "%s/records", folder);
    int fd = mounted ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd >= 0) {
        readable = record_verify(fd, disk, &s);
        close(fd);
    }
    printf(
        "{\"mounted\":%s,\"readable\":%s,\"last\":%llu,\"gaps\":%llu,\"bad\":%llu,\"tail\":%llu}",
        mounted ? "true" : "false", readable ? "true" : "false", (unsigned long long)s.last,
        (unsigned long long)s.gaps, (unsigned long long)s.bad, (unsigned long long)s.tail);
    *ret = s;
    return readable && !s.gaps && !s.bad;
}

static void drop_caches(void)
{
    int fd = open("/proc/sys/vm/drop_caches", O_WRONLY | O_CLOEXEC);

    sync();
    if (fd >= 0) {
        if (write(fd, "3", 1) < 0)
            perror("labcheck: drop_caches");
        close(fd);
    }
}

int main(int argc, char **argv)
{
    char answer[512] = "null";
    RecordSummary a, b;
    int labd = connect_labd();

    if (argc > 1) {
        bool ok = ask(labd, argv[1], answer, sizeof answer);
        puts(ok ? answer : "no answer");
        return ok && strcmp(answer, "failed") != 0 ? 0 : 1;
    }
    if (labd >= 0 && (!ask(labd, "hold", answer, sizeof answer) || strcmp(answer, "ok") != 0)) {
        puts("{\"ok\":false,\"error\":\"the writer does not stop\"}");
        return 1;
    }
    drop_caches();
    printf("{\"a\":");
    bool ok = check_disk("/mnt/a", 'A', &a);
    printf(",\"b\":");
    ok = check_disk("/mnt/b", 'B', &b) && ok;
    if (labd >= 0 && !ask(labd, "state", answer, sizeof answer))
        strcpy(answer, "null");
    printf(",\"difference\":%lld,\"ok\":%s,\"clean\":%s,\"state\":%s}\n",
           (long long)a.last - (long long)b.last, ok ? "true" : "false",
           ok && !a.tail && !b.tail ? "true" : "false", labd >= 0 ? answer : "null");
    return ok ? 0 : 1;
}
