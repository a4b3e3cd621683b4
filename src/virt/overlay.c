/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* With memory, libvirt writes into the file at memory_path if there is one and keeps its owner and
 * mode; so we make it, 0600, and know its inode: on failure libvirt removes only files that it made
 * itself, and we remove ours. REUSE_EXT says nothing about that file, only about overlays.
 *
 * A failed or cancelled memory snapshot has not touched the disks: they are switched last, in one
 * QMP transaction, and libvirt then resumes the guest whatever happened. */
#include "virt/overlay.h"

#include "base/error.h"
#include "base/failpoint.h"
#include "virt/disk-xml.h"
#include "virt/pause.h"
#include "virt/qmp.h"
#include "virt/rescue.h"

#include <errno.h>
#include <fcntl.h>
#include <libvirt/virterror.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NUMBER_TRIES 16
#define POLL_US (G_USEC_PER_SEC / 10)
#define RESUME_PATIENCE_US (60 * G_USEC_PER_SEC)
#define END_PATIENCE_US (60 * G_USEC_PER_SEC)
#define DEVICE_STATE (UINT64_C(64) << 20) /* bytes, with video memory */

/* Between the thread that waits for the snapshot and the one that watches it. */
typedef struct {
    virDomainPtr domain;
    const char *path; /* of the memory file */
    uint64_t limit;   /* bytes of it */
    GMutex lock;
    GCond wake;
    bool stop;   /* under lock */
    bool outrun; /* under lock: the guest was paused */
} Growth;

static const VmsOverlay *overlay_of(GPtrArray *overlays, const char *target)
{
    for (guint i = 0; i < overlays->len; i++) {
        const VmsOverlay *overlay = overlays->pdata[i];
        if (g_strcmp0(overlay->target, target) == 0)
            return overlay;
    }
    return NULL;
}

static char *snapshot_xml(const VmsFacts *facts, GPtrArray *overlays, const char *memory_path)
{
    GString *xml = g_string_new("<domainsnapshot>");
    g_autofree char *memory = memory_path ? g_markup_escape_text(memory_path, -1) : NULL;
    if (memory)
        g_string_append_printf(xml, "<memory snapshot='external' file='%s'/>", memory);
    else
        g_string_append(xml, "<memory snapshot='no'/>");
    g_string_append(xml, "<disks>");
    for (guint i = 0; i < facts->disks->len; i++) {
        const VmsDisk *disk = facts->disks->pdata[i];
        const VmsOverlay *overlay = overlay_of(overlays, disk->target);
        g_autofree char *target = g_markup_escape_text(disk->target, -1);
        g_autofree char *path = overlay ? g_markup_escape_text(overlay->overlay, -1) : NULL;
        if (overlay)
            g_string_append_printf(xml,
                                   "<disk name='%s' snapshot='external' type='file'>"
                                   "<driver type='qcow2'/><source file='%s'/></disk>",
                                   target, path);
        else
            g_string_append_printf(xml, "<disk name='%s' snapshot='no'/>", target);
    }
    g_string_append(xml, "</disks></domainsnapshot>");
    return g_string_free(xml, FALSE);
}

/* A libvirtd that was killed may have given QEMU a block node without having written down that its
 * number is taken. Nothing has been switched then, and each try takes the next number. */
static bool is_number_taken(void)
{
    const char *message = virGetLastErrorMessage();
    return message && strstr(message, "Duplicate nodes with node-name");
}

static bool take(virDomainPtr domain, const char *xml, unsigned flags, const char *what,
                 GError **error)
{
    virDomainSnapshotPtr snapshot = NULL;
    flags |= VIR_DOMAIN_SNAPSHOT_CREATE_ATOMIC | VIR_DOMAIN_SNAPSHOT_CREATE_REUSE_EXT |
             VIR_DOMAIN_SNAPSHOT_CREATE_NO_METADATA;
    for (int i = 0; i < NUMBER_TRIES && !snapshot; i++) {
        snapshot = virDomainSnapshotCreateXML(domain, xml, flags);
        if (!snapshot && !is_number_taken())
            break;
    }
    if (!snapshot)
        return vms_virt_fail(error, "%s", what);
    virDomainSnapshotFree(snapshot);
    return true;
}

bool vms_overlay_switch(virDomainPtr domain, const VmsFacts *facts, GPtrArray *overlays,
                        GError **error)
{
    g_autofree char *xml = snapshot_xml(facts, overlays, NULL);
    vms_failpoint("disks.switching");
    bool ok = take(domain, xml, VIR_DOMAIN_SNAPSHOT_CREATE_DISK_ONLY, "external snapshot", error);
    vms_failpoint("disks.switched");
    return ok;
}

static bool make_memory_file(const char *path, struct stat *ret_st, GError **error)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return vms_fail_errno(error, errno, "memory file %s", path);
    struct stat st;
    int failed = fchmod(fd, 0600) < 0 || fstat(fd, &st) < 0 ? errno : 0;
    close(fd);
    vms_failpoint("live.file-made");
    if (failed)
        return vms_fail_errno(error, failed, "memory file %s", path);
    *ret_st = st;
    return true;
}

static void remove_memory_file(const char *path, const struct stat *made)
{
    struct stat st;
    if (lstat(path, &st) == 0 && st.st_dev == made->st_dev && st.st_ino == made->st_ino)
        unlink(path);
}

/* Bytes written and left to write; of our kind of job only: somebody else's is none of our
 * business. */
static bool is_snapshot_job(virDomainPtr domain, unsigned long long *ret_bytes)
{
    virTypedParameterPtr stats = NULL;
    int n = 0, type = VIR_DOMAIN_JOB_NONE, operation = 0;
    unsigned long long done = 0, left = 0;
    if (virDomainGetJobStats(domain, &type, &stats, &n, 0) < 0)
        return false;
    virTypedParamsGetInt(stats, n, VIR_DOMAIN_JOB_OPERATION, &operation);
    virTypedParamsGetULLong(stats, n, VIR_DOMAIN_JOB_MEMORY_PROCESSED, &done);
    virTypedParamsGetULLong(stats, n, VIR_DOMAIN_JOB_MEMORY_REMAINING, &left);
    virTypedParamsFree(stats, n);
    *ret_bytes = done + left;
    return type != VIR_DOMAIN_JOB_NONE && operation == VIR_DOMAIN_JOB_OPERATION_SNAPSHOT;
}

/* Until then libvirt answers no question about the job: it would come only at the end, or after 30
 * s. */
static bool is_begun(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && st.st_size > 0;
}

/* Pauses a guest that outruns the job: what is left to write then only shrinks. Libvirt resumes it
 * at the end of the job, whatever becomes of it and of us, because it ran when the job began. */
static void *watch_growth(void *data)
{
    Growth *growth = data;
    g_mutex_lock(&growth->lock);
    while (!growth->stop && !growth->outrun) {
        unsigned long long bytes = 0;
        g_cond_wait_until(&growth->wake, &growth->lock, g_get_monotonic_time() + POLL_US);
        bool stop = growth->stop;
        g_mutex_unlock(&growth->lock);
        bool over = !stop && is_begun(growth->path) && is_snapshot_job(growth->domain, &bytes) &&
                    bytes > growth->limit && virDomainSuspend(growth->domain) == 0;
        if (over)
            vms_failpoint("live.outrun");
        g_mutex_lock(&growth->lock);
        growth->outrun = over;
    }
    g_mutex_unlock(&growth->lock);
    return NULL;
}

/* Libvirt has resumed the guest by now; where it has not, we do (P1). */
static bool end_watch(Growth *growth, GThread *thread, GError **error)
{
    int state = VIR_DOMAIN_NOSTATE;
    g_mutex_lock(&growth->lock);
    growth->stop = true;
    g_cond_signal(&growth->wake);
    g_mutex_unlock(&growth->lock);
    g_thread_join(thread);
    g_mutex_clear(&growth->lock);
    g_cond_clear(&growth->wake);
    if (!growth->outrun)
        return true;
    g_autoptr(VmsRescue) rescue = vms_rescue_new(growth->domain);
    int64_t end = g_get_monotonic_time() + RESUME_PATIENCE_US;
    for (;;) {
        virDomainPtr domain = vms_rescue_domain(rescue);
        if (domain && virDomainGetState(domain, &state, NULL, 0) == 0 &&
            (state != VIR_DOMAIN_PAUSED || virDomainResume(domain) == 0))
            return true;
        if (g_get_monotonic_time() > end)
            return vms_virt_fail(error, "the guest is paused and cannot be resumed");
        g_usleep(POLL_US);
    }
}

/* Bytes written and known to be left after which the guest is paused. */
static uint64_t growth_limit(const VmsFacts *facts)
{
    return facts->memory + facts->memory / 4;
}

static bool take_with_memory(virDomainPtr domain, const VmsFacts *facts, const char *xml,
                             const char *path, bool *ret_outrun, GError **error)
{
    Growth growth = {.domain = domain, .path = path, .limit = growth_limit(facts)};
    g_autoptr(GError) cause = NULL;
    const char *what = "external snapshot with memory";
    if (facts->state != VIR_DOMAIN_RUNNING) {
        *ret_outrun = false;
        return take(domain, xml, VIR_DOMAIN_SNAPSHOT_CREATE_LIVE, what, error);
    }
    g_mutex_init(&growth.lock);
    g_cond_init(&growth.wake);
    GThread *thread = g_thread_new("memory-growth", watch_growth, &growth);
    bool ok = take(domain, xml, VIR_DOMAIN_SNAPSHOT_CREATE_LIVE, what, &cause);
    bool runs = end_watch(&growth, thread, error);
    if (!ok && runs)
        g_propagate_error(error, g_steal_pointer(&cause));
    *ret_outrun = growth.outrun;
    return ok && runs;
}

uint64_t vms_overlay_memory_need(const VmsFacts *facts)
{
    uint64_t pages = growth_limit(facts) + facts->memory;
    return pages + pages / 256 + DEVICE_STATE;
}

bool vms_overlay_switch_with_memory(virDomainPtr domain, const VmsFacts *facts, GPtrArray *overlays,
                                    const char *memory_path, bool *ret_outrun, GError **error)
{
    struct stat made = {0};
    if (!make_memory_file(memory_path, &made, error))
        return false;
    g_autofree char *xml = snapshot_xml(facts, overlays, memory_path);
    bool taken = take_with_memory(domain, facts, xml, memory_path, ret_outrun, error);
    vms_failpoint("live.ended");
    if (taken)
        return true;
    remove_memory_file(memory_path, &made);
    return false;
}

/* QEMU 7.2 that is cancelled once it has seen that the guest runs, and before it has given the
 * guest's images up for the last pages, runs the guest on images that it has given up, and aborts:
 * "BDRV_O_INACTIVE". A guest that was paused by request before is not run by it; libvirt's resume
 * at the end of the job has QEMU take the images back first. A request does not change the state of
 * a guest that QEMU has stopped already, so that state says who came first. */
static bool may_cancel(virDomainPtr domain)
{
    bool paused = false;
    return vms_qmp_is_paused(domain, &paused, NULL) && paused;
}

/* Where QEMU came first the job is left to end, which takes a moment. The end of our pause waits
 * for that of the job. */
static bool cancel(virDomainPtr domain)
{
    VmsPause *pause = vms_pause_new(domain, NULL);
    bool over = pause && (!may_cancel(domain) || virDomainAbortJob(domain) == 0);
    vms_pause_end(pause, NULL);
    return over;
}

/* The caller undoes the snapshot. Before it begins libvirt may wait for somebody else's job. */
void vms_overlay_cancel(virDomainPtr domain, const char *memory_path, const int *under_way)
{
    unsigned long long bytes = 0;
    while (g_atomic_int_get(under_way) &&
           !(is_begun(memory_path) && is_snapshot_job(domain, &bytes) && cancel(domain)))
        g_usleep(POLL_US);
}

/* *ret_known: libvirt has answered. It does not while the job begins. */
static bool has_snapshot_job(virDomainPtr domain, bool *ret_known)
{
    unsigned long long bytes = 0;
    virResetLastError();
    bool job = is_snapshot_job(domain, &bytes);
    *ret_known = job || virGetLastErrorCode() == VIR_ERR_OK;
    return job;
}

bool vms_overlay_end_job(virDomainPtr domain, GCancellable *cancellable, GError **error)
{
    int64_t end = g_get_monotonic_time() + END_PATIENCE_US;
    for (;;) {
        bool known = true;
        bool job = virDomainIsActive(domain) == 1 && has_snapshot_job(domain, &known);
        if (!job && known)
            return true;
        if (job)
            cancel(domain);
        if (!vms_check_cancelled(cancellable, error))
            return false;
        if (g_get_monotonic_time() > end)
            return vms_fail(error, VMS_ERROR_LOCKED,
                            "libvirt has not ended the snapshot that was begun; run it again "
                            "later");
        g_usleep(POLL_US);
    }
}

static char *edited(const char *xml, GPtrArray *overlays, GError **error)
{
    g_autoptr(xmlDoc) doc = vms_xml_parse(xml, error);
    if (!doc)
        return NULL;
    for (guint i = 0; i < overlays->len; i++) {
        const VmsOverlay *overlay = overlays->pdata[i];
        xmlNodePtr disk = vms_disk_xml_find(doc, overlay->target);
        g_autofree char *source = disk ? vms_disk_xml_source(disk) : NULL;
        if (g_strcmp0(source, overlay->base) != 0)
            return vms_fail_null(error, VMS_ERROR_REFUSED,
                                 "disk %s: the definition says %s and no longer %s",
                                 overlay->target, source ? source : "nothing", overlay->base);
        vms_disk_xml_push(disk, overlay);
    }
    return vms_xml_serialize(doc);
}

static bool define(virConnectPtr conn, const char *xml, GError **error)
{
    g_autoptr(virDomain) defined = virDomainDefineXMLFlags(conn, xml, 0);
    return defined || vms_virt_fail(error, "redefine");
}

/* Started meanwhile: QEMU writes into the bases, so the definition must name them again. */
static bool check_still_off(virDomainPtr domain, virConnectPtr conn, const char *before,
                            GError **error)
{
    if (virDomainIsActive(domain) == 0)
        return true;
    return define(conn, before, error) &&
           vms_fail(error, VMS_ERROR_REFUSED, "the domain was started meanwhile; run again");
}

bool vms_overlay_switch_offline(virConnectPtr conn, const VmsFacts *facts, GPtrArray *overlays,
                                GError **error)
{
    g_autoptr(virDomain) domain = virDomainLookupByUUIDString(conn, facts->uuid);
    if (!domain)
        return vms_virt_fail(error, "look up");
    /* SECURE: what is not in the XML would be gone from the definition. */
    char *before = virDomainGetXMLDesc(domain, VIR_DOMAIN_XML_INACTIVE | VIR_DOMAIN_XML_SECURE);
    if (!before)
        return vms_virt_fail(error, "read the definition");
    g_autofree char *after = edited(before, overlays, error);
    vms_failpoint("offline.defining");
    bool ok = after && define(conn, after, error);
    vms_failpoint("offline.defined");
    ok = ok && check_still_off(domain, conn, before, error);
    free(before);
    return ok;
}

static bool source_in(virDomainPtr domain, const char *target, unsigned flags, char **ret_path,
                      GError **error)
{
    char *xml = virDomainGetXMLDesc(domain, flags);
    if (!xml)
        return vms_virt_fail(error, "read the definition");
    g_autoptr(xmlDoc) doc = vms_xml_parse(xml, error);
    free(xml);
    if (!doc)
        return false;
    xmlNodePtr disk = vms_disk_xml_find(doc, target);
    *ret_path = disk ? vms_disk_xml_source(disk) : NULL;
    return true;
}

bool vms_overlay_where(virDomainPtr domain, const char *target, char **ret_live,
                       char **ret_persistent, GError **error)
{
    g_autofree char *live = NULL, *persistent = NULL;
    int active = virDomainIsActive(domain), is_persistent = virDomainIsPersistent(domain);
    if (active < 0 || is_persistent < 0)
        return vms_virt_fail(error, "read the domain's state");
    if (active && !source_in(domain, target, 0, &live, error))
        return false;
    if (is_persistent && !source_in(domain, target, VIR_DOMAIN_XML_INACTIVE, &persistent, error))
        return false;
    *ret_live = g_steal_pointer(&live);
    *ret_persistent = g_steal_pointer(&persistent);
    return true;
}
