/* A backup tool that verifies its restores: it stores a manifest beside the backup, and compares the restored database with it.
 *
 *     cc backup_tool.c -I include -L target/release -lverify_ffi -o backup_tool
 *     backup_tool capture 'host=db user=backup dbname=shop' shop.manifest
 *     backup_tool verify shop.manifest 'host=restored user=postgres dbname=shop'
 *
 * The exit status is that of state-lab: 0 pass, 1 fail, 2 error, 3 inconclusive. */

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "state_lab.h"

static state_lab_token *token;

static void stop(int signal) {
    (void)signal;
    state_lab_token_cancel(token);
}

/* Shows which tables were read. Another value than 0 would end the work. */
static int show(const char *event, void *user_data) {
    FILE *log = user_data;
    if (strncmp(event, "{\"table-read\"", 13) == 0) {
        fprintf(log, "%s\n", event);
    }
    /* At {"snapshot":{"exported":"NAME"}} start `pg_dump --snapshot=NAME`, at {"measured":…} wait for it: then the dump is of the
     * same point in time as the manifest, whatever is written to the database meanwhile. */
    return 0;
}

static int write_file(const char *path, state_lab_bytes bytes) {
    FILE *file = fopen(path, "wbx");
    if (file == NULL) {
        perror(path);
        return -1;
    }
    size_t written = fwrite(bytes.data, 1, bytes.len, file);
    if (fclose(file) != 0 || written != bytes.len) {
        perror(path);
        remove(path);
        return -1;
    }
    return 0;
}

static unsigned char *read_file(const char *path, size_t *len) {
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        perror(path);
        return NULL;
    }
    unsigned char *data = NULL;
    long size = fseek(file, 0, SEEK_END) == 0 ? ftell(file) : -1;
    if (size > 0 && (data = malloc((size_t)size)) != NULL) {
        rewind(file);
        *len = fread(data, 1, (size_t)size, file);
    } else {
        fprintf(stderr, "%s: empty or too large\n", path);
    }
    fclose(file);
    return data;
}

static int capture(const char *conninfo, const char *path) {
    state_lab_bytes result;
    state_lab_status status = state_lab_capture(conninfo, "{\"jobs\":2}", token, show, stderr, &result);
    if (status == STATE_LAB_STATUS_ERROR) {
        /* {"kind":…,"causes":[…],"hint":…} */
        fprintf(stderr, "%s\n", (const char *)result.data);
    } else if (write_file(path, result) != 0) {
        status = STATE_LAB_STATUS_ERROR;
    }
    state_lab_bytes_free(result);
    return (int)status;
}

static int verify(const char *path, const char *conninfo) {
    size_t len = 0;
    unsigned char *manifest = read_file(path, &len);
    if (manifest == NULL) {
        return STATE_LAB_STATUS_ERROR;
    }
    state_lab_bytes result;
    state_lab_status status = state_lab_verify(manifest, len, conninfo, NULL, token, show, stderr, &result);
    free(manifest);
    /* The report, docs/report.schema.json; or the error. */
    fprintf(status == STATE_LAB_STATUS_ERROR ? stderr : stdout, "%s\n", (const char *)result.data);
    state_lab_bytes_free(result);
    return (int)status;
}

int main(int argc, char **argv) {
    if (state_lab_abi_version() != STATE_LAB_ABI_VERSION) {
        fprintf(stderr, "the library has another interface than the header\n");
        return STATE_LAB_STATUS_ERROR;
    }
    if (argc != 4) {
        fprintf(stderr, "usage: backup_tool capture CONNINFO FILE | backup_tool verify FILE CONNINFO\n");
        return STATE_LAB_STATUS_ERROR;
    }
    token = state_lab_token_new();
    signal(SIGINT, stop);
    signal(SIGTERM, stop);
    int status = STATE_LAB_STATUS_ERROR;
    if (strcmp(argv[1], "capture") == 0) {
        status = capture(argv[2], argv[3]);
    } else if (strcmp(argv[1], "verify") == 0) {
        status = verify(argv[2], argv[3]);
    }
    signal(SIGINT, SIG_DFL);
    signal(SIGTERM, SIG_DFL);
    state_lab_token_free(token);
    return status;
}
