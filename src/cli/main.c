/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* From the command line to a job and from its outcome to an exit status. */
#include "base/json-writer.h"
#include "cli/meter.h"
#include "cli/parse.h"
#include "cli/signals.h"
#include "job/config.h"

#include <fcntl.h>
#include <locale.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

typedef struct {
    VmsMeter *meter;
    bool verbose;
} Log;

/* GLib's messages, ours included, go where all lines go. */
static GLogWriterOutput write_log(GLogLevelFlags level, const GLogField *fields, gsize n,
                                  gpointer data)
{
    Log *log = data;
    bool shown = (level & (G_LOG_LEVEL_DEBUG | G_LOG_LEVEL_INFO)) == 0 || log->verbose;
    for (gsize i = 0; shown && i < n; i++)
        if (g_str_equal(fields[i].key, "MESSAGE"))
            vms_meter_line(log->meter, fields[i].value);
    return G_LOG_WRITER_HANDLED;
}

/* Otherwise the first files that are opened would be taken for the standard ones. */
static void open_standard_files(void)
{
    for (int fd = 0; fd <= 2; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", fd == 0 ? O_RDONLY : O_WRONLY) != fd)
            _exit(1);
}

/* Passwords, keys and pieces of guests' memory are in ours: no core dump, and nobody but root looks
 * into /proc/PID. Children may be debugged, but leave no core with disk contents either. */
static void keep_memory_private(void)
{
    struct rlimit limit;
    prctl(PR_SET_DUMPABLE, 0);
    if (getrlimit(RLIMIT_CORE, &limit) == 0) {
        limit.rlim_cur = 0;
        setrlimit(RLIMIT_CORE, &limit);
    }
}

static char *error_json(const GError *error)
{
    g_autoptr(VmsJsonWriter) out = vms_json_writer_new(true);
    vms_json_writer_begin_object(out);
    vms_json_writer_member_string(out, "schema", "vmsnap.error.v1");
    vms_json_writer_member_string(out, "code", vms_error_name(error));
    vms_json_writer_member_uint64(out, "exit_status", (uint64_t)vms_error_exit_status(error));
    vms_json_writer_member_string(out, "message", error->message);
    vms_json_writer_end_object(out);
    return vms_json_writer_finish(out);
}

static int report(VmsMeter *meter, const GError *error, bool json)
{
    vms_meter_finish(meter);
    vms_meter_line(meter, error->message);
    if (json) {
        g_autofree char *text = error_json(error);
        vms_command_print(text, NULL);
    }
    return vms_error_exit_status(error);
}

static bool run(const VmsParse *parse, VmsMeter *meter, int *ret_status, GError **error)
{
    g_autoptr(VmsConfig) config = vms_config_load(parse->common->config, error);
    g_autoptr(GCancellable) cancellable = g_cancellable_new();
    VmsContext context = {
        .config = config,
        .uri = parse->common->connect,
        .progress = vms_meter_progress(meter),
        .cancellable = cancellable,
    };
    context.growth = config ? config->growth : 0;
    if (!config || !vms_signals_start(cancellable, context.progress, error))
        return false;
    VmsInvocation invocation = {
        .command = parse->command,
        .context = &context,
        .arguments = (const char *const *)parse->arguments,
        .json = parse->common->json,
    };
    g_object_ref(cancellable); /* the signals' thread keeps it */
    bool ok = parse->command->run(&invocation, error);
    vms_context_clear(&context);
    *ret_status = invocation.exit_status;
    return ok;
}

static bool start(VmsParse *parse, VmsMeter *meter, Log *log, const char *const *argv,
                  int *ret_status, GError **error)
{
    VmsMeterKind kind;
    *ret_status = 0;
    if (!vms_parse(parse, argv, error) || !vms_meter_parse(parse->common->progress, &kind, error))
        return false;
    log->verbose = parse->common->verbose;
    if (parse->common->version)
        return vms_command_print("vmsnap " VMS_VERSION "\n", error);
    if (parse->common->help) {
        g_autofree char *help = vms_parse_help(parse->command);
        return vms_command_print(help, error);
    }
    vms_meter_configure(meter, kind, parse->common->quiet);
    return run(parse, meter, ret_status, error);
}

int main(int argc, char **argv)
{
    /* Names keep their bytes and tables show local time; messages stay English, so numbers do too.
     */
    setlocale(LC_CTYPE, "");
    setlocale(LC_TIME, "");
    open_standard_files();
    keep_memory_private();
    g_autoptr(VmsMeter) meter = vms_meter_new();
    g_autoptr(GError) error = NULL;
    VmsParse parse = {0};
    Log log = {.meter = meter};
    int status = 0;
    g_log_set_writer_func(write_log, &log, NULL);
    bool ok = start(&parse, meter, &log, (const char *const *)argv, &status, &error);
    if (!ok)
        status = report(meter, error, vms_parse_wants_json((const char *const *)argv));
    vms_meter_finish(meter);
    vms_parse_clear(&parse);
    fflush(NULL);
    /* Not return: the signals' thread may be about to use what would be freed. */
    _exit(status);
}
