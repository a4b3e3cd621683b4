/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Deleting the packs of a repository that has many: several at once, but not all; and what an error
 * or a cancel in the middle leaves. */
#include "prune-fixture.h"

#define PACKS 2000u
#define THREADS 8u /* of prune-delete.c */

static struct {
    VmsStoreOps ops;
    GMutex mutex; /* guards what is below */
    GCond came;
    unsigned inside, most; /* removals of packs at the same time */
    unsigned begun, ended;
    int64_t patience; /* until then as many as may have to come */
    bool alone;       /* they have not */
    unsigned fail_at; /* the removal that fails, from 1 on; 0: none */
    GCancellable *cancel;
} gate;

/* Waits for as many as there may be at once. */
static bool gate_remove(VmsStore *base, const char *name, GCancellable *cancellable, GError **error)
{
    bool pack = g_str_has_prefix(name, "data/");
    bool fails = false;

    if (pack) {
        g_mutex_lock(&gate.mutex);
        gate.inside++;
        gate.most = MAX(gate.most, gate.inside);
        fails = ++gate.begun == gate.fail_at;
        g_cond_broadcast(&gate.came);
        while (gate.most < THREADS && !gate.alone)
            gate.alone = !g_cond_wait_until(&gate.came, &gate.mutex, gate.patience);
        g_mutex_unlock(&gate.mutex);
    }
    if (fails && gate.cancel != NULL)
        g_cancellable_cancel(gate.cancel);
    bool ok = fails && gate.cancel == NULL
                  ? vms_fail(error, VMS_ERROR_AUTH, "%s: may not be removed", name)
                  : vms_store_remove(((StepStore *)base)->inner, name, cancellable, error);
    if (pack) {
        g_mutex_lock(&gate.mutex);
        gate.inside--;
        gate.ended += ok;
        g_mutex_unlock(&gate.mutex);
    }
    return ok;
}

typedef struct {
    Fixture f;
    Copy copy;
    VmsId kept;
} Many;

static void set_up_many(Many *m, const void *unused)
{
    set_up(&m->f, NULL);
    m->kept = add_snapshot_as(&m->f, m->f.repo, (Range){0, 30, 1});
    copy_repository(&m->f, &m->copy);
    for (unsigned i = 0; i < PACKS; i++) {
        g_autoptr(GBytes) bytes = g_bytes_new(&i, sizeof(i));
        VmsId id;

        vms_hash((const uint8_t *)&i, sizeof(i), id.bytes);
        g_autofree char *name = vms_object_pack_name(&id);
        assert_ok(vms_store_put(m->copy.f.store, name, bytes, true, NULL, ERR));
    }
    /* Seen once, so that the next run may delete them. */
    assert_ok(prune(&m->copy.f, &(VmsPruneOptions){0}, &(VmsPruneStats){0}, ERR));
    gate.ops = step_ops;
    gate.ops.remove = gate_remove;
    gate.inside = gate.most = gate.begun = gate.ended = gate.fail_at = 0;
    gate.cancel = NULL;
    gate.alone = false;
    gate.patience = g_get_monotonic_time() + 60 * G_USEC_PER_SEC;
    m->copy.store->base.ops = &gate.ops;
}

static void tear_down_many(Many *m, const void *unused)
{
    free_copy(&m->copy);
    tear_down(&m->f, NULL);
}

static guint packs_left(Many *m)
{
    g_autoptr(GPtrArray) left = names(&m->copy.f, "data/");

    return left->len;
}

typedef struct {
    VmsProgress base;
    uint64_t last, total;
} Meter;

static void meter_update(VmsProgress *progress, const VmsProgressState *state)
{
    Meter *meter = (Meter *)progress;

    if (strcmp(state->phase, "delete") != 0)
        return;
    g_assert_cmpuint(state->done, >, meter->last);
    meter->last = state->done;
    meter->total = state->total;
}

static void test_together(Many *m, const void *unused)
{
    Meter meter = {.base = {.update = meter_update}};
    VmsPruneOptions options = {.unindexed_age_us = -1, .progress = &meter.base};
    guint before = packs_left(m);
    VmsPruneStats stats;

    assert_ok(prune(&m->copy.f, &options, &stats, ERR));
    g_assert_cmpuint(stats.packs_removed, ==, PACKS);
    g_assert_cmpuint(gate.ended, ==, PACKS);
    g_assert_cmpuint(before - packs_left(m), ==, PACKS);
    g_assert_false(gate.alone);
    g_assert_cmpuint(gate.most, <=, THREADS);
    g_assert_cmpuint(meter.last, ==, PACKS * sizeof(unsigned));
    g_assert_cmpuint(meter.total, ==, meter.last);
    g_assert_true(is_whole(&m->copy.f, &m->kept, (Range){0, 30, 1}));
}

/* The rest is for the next run, at once. */
static void assert_goes_on(Many *m)
{
    VmsPruneStats stats;

    g_assert_cmpuint(gate.begun, <, 700 + 3 * THREADS);
    gate.fail_at = 0;
    gate.cancel = NULL;
    assert_ok(prune(&m->copy.f, &(VmsPruneOptions){0}, &stats, ERR));
    g_assert_cmpuint(stats.packs_removed, ==, PACKS - (gate.ended - stats.packs_removed));
    g_assert_cmpuint(stats.packs_unindexed, ==, 0);
    g_assert_cmpuint(gate.ended, ==, PACKS);
    g_assert_true(is_whole(&m->copy.f, &m->kept, (Range){0, 30, 1}));
}

static void test_error(Many *m, const void *unused)
{
    VmsPruneOptions options = {.unindexed_age_us = -1};
    g_autoptr(GError) error = NULL;

    gate.fail_at = 700;
    g_assert_false(prune(&m->copy.f, &options, &(VmsPruneStats){0}, &error));
    g_assert_error(error, VMS_ERROR, VMS_ERROR_AUTH);
    g_assert_nonnull(strstr(error->message, "may not be removed"));
    g_assert_cmpuint(gate.begun - gate.ended, ==, 1);
    assert_goes_on(m);
}

static void test_cancelled(Many *m, const void *unused)
{
    VmsPruneOptions options = {.unindexed_age_us = -1};
    g_autoptr(GCancellable) cancellable = g_cancellable_new();
    g_autoptr(GError) error = NULL;

    gate.fail_at = 700;
    gate.cancel = cancellable;
    g_assert_false(
        vms_prune(m->copy.f.repo, held, &options, &(VmsPruneStats){0}, cancellable, &error));
    g_assert_error(error, VMS_ERROR, VMS_ERROR_CANCELLED);
    assert_goes_on(m);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add("/prune-delete/together", Many, NULL, set_up_many, test_together, tear_down_many);
    g_test_add("/prune-delete/error", Many, NULL, set_up_many, test_error, tear_down_many);
    g_test_add("/prune-delete/cancelled", Many, NULL, set_up_many, test_cancelled, tear_down_many);
    return g_test_run();
}
