/* Checks of the C interface. Arguments: the connection strings of a database and its undamaged copy. */

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "state_lab.h"

#define CHECK(condition)                                                        \
    do {                                                                        \
        if (!(condition)) {                                                     \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);     \
            exit(1);                                                            \
        }                                                                       \
    } while (0)

struct seen {
    pthread_t caller;
    int events;
    int tables;
    int steps;
    int stop_at;
};

static int on_event(const char *event, void *user_data) {
    struct seen *seen = user_data;
    CHECK(pthread_equal(seen->caller, pthread_self()));
    CHECK(event[0] == '{' && event[strlen(event) - 1] == '}');
    seen->events++;
    seen->tables += strncmp(event, "{\"table-read\"", 13) == 0;
    if (strncmp(event, "{\"snapshot\":{\"exported\":\"", 25) == 0) {
        CHECK(seen->steps == 0 && seen->tables == 0);
        seen->steps = 1;
    }
    if (strncmp(event, "{\"measured\"", 11) == 0) {
        CHECK(seen->steps == 1 && seen->tables == 1);
        seen->steps = 2;
    }
    return seen->events == seen->stop_at;
}

/* The result is the error of this kind, whose text has `part`. */
static void is_error(state_lab_status status, state_lab_bytes result, const char *kind, const char *part) {
    CHECK(status == STATE_LAB_STATUS_ERROR);
    const char *text = (const char *)result.data;
    char quoted[64];
    snprintf(quoted, sizeof quoted, "\"kind\":\"%s\"", kind);
    if (strstr(text, quoted) == NULL || strstr(text, part) == NULL || strstr(text, "hunter2") != NULL) {
        fprintf(stderr, "expected %s and %s: %s\n", kind, part, text);
        exit(1);
    }
    CHECK(strlen(text) == result.len);
    state_lab_bytes_free(result);
}

static void bad_arguments(const char *conninfo) {
    state_lab_bytes result;
    is_error(state_lab_capture(NULL, NULL, NULL, NULL, NULL, &result), result, "usage", "conninfo");
    is_error(state_lab_capture("dbname=\xff", NULL, NULL, NULL, NULL, &result), result, "usage", "UTF-8");
    is_error(state_lab_capture(conninfo, "{\"job\":1}", NULL, NULL, NULL, &result), result, "usage", "job");
    is_error(state_lab_capture(conninfo, "password=hunter2", NULL, NULL, NULL, &result), result, "usage", "JSON");
    is_error(state_lab_capture("passwort=hunter2", NULL, NULL, NULL, NULL, &result), result, "settings", "passwort");
    is_error(state_lab_capture("dbname=shop", NULL, NULL, NULL, NULL, &result), result, "settings", "user");
    is_error(state_lab_verify(NULL, 0, conninfo, NULL, NULL, NULL, NULL, &result), result, "usage", "manifest");
    const uint8_t nothing[] = "no manifest";
    is_error(state_lab_verify(nothing, sizeof nothing, conninfo, NULL, NULL, NULL, NULL, &result), result, "manifest", "");
    is_error(state_lab_compare(conninfo, NULL, NULL, NULL, NULL, NULL, &result), result, "usage", "restored");
    is_error(state_lab_compare(conninfo, conninfo, NULL, NULL, NULL, NULL, &result), result, "settings", "the same");
    CHECK(state_lab_capture(conninfo, NULL, NULL, NULL, NULL, NULL) == STATE_LAB_STATUS_ERROR);
    state_lab_token_cancel(NULL);
    state_lab_token_free(NULL);
    state_lab_bytes_free((state_lab_bytes){NULL, 0});
}

static void *cancel(void *token) {
    struct timespec while_it_sleeps = {1, 0};
    nanosleep(&while_it_sleeps, NULL);
    state_lab_token_cancel(token);
    return NULL;
}

/* A statement that would take a minute ends soon after another thread cancels the call. */
static void cancellation(const char *conninfo) {
    const char *options =
        "{\"invariants\":[{\"name\":\"slow\",\"sql\":\"SELECT pg_sleep(60)\",\"expect\":\"no-rows\"}]}";
    state_lab_token *token = state_lab_token_new();
    pthread_t thread;
    time_t began = time(NULL);
    CHECK(pthread_create(&thread, NULL, cancel, token) == 0);
    state_lab_bytes result;
    is_error(state_lab_capture(conninfo, options, token, NULL, NULL, &result), result, "interrupted", "");
    CHECK(time(NULL) - began < 30);
    CHECK(pthread_join(thread, NULL) == 0);
    /* A used token ends the next call, too. */
    is_error(state_lab_capture(conninfo, NULL, token, NULL, NULL, &result), result, "interrupted", "");
    state_lab_token_free(token);
}

/* A server that closes its connections ends the call, not this process by SIGPIPE, which is not ignored here. */
static void closed_connections(const char *conninfo) {
    const char *options =
        "{\"invariants\":[{\"name\":\"end\",\"expect\":\"no-rows\",\"sql\":"
        "\"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
        " UNION ALL SELECT pg_terminate_backend(pg_backend_pid())\"}]}";
    state_lab_bytes result;
    is_error(state_lab_capture(conninfo, options, NULL, NULL, NULL, &result), result, "server", "57P01");
}

int main(int argc, char **argv) {
    CHECK(argc == 3);
    const char *source = argv[1], *copy = argv[2];
    CHECK(state_lab_abi_version() == STATE_LAB_ABI_VERSION);
    CHECK(strchr(state_lab_version(), '.') != NULL);

    struct seen seen = {.caller = pthread_self()};
    state_lab_bytes manifest, report;
    CHECK(state_lab_capture(source, NULL, NULL, on_event, &seen, &manifest) == STATE_LAB_STATUS_PASS);
    CHECK(seen.tables == 1 && seen.steps == 2 && manifest.len > 100);
    CHECK(state_lab_verify(manifest.data, manifest.len, copy, "{}", NULL, NULL, NULL, &report) == STATE_LAB_STATUS_PASS);
    CHECK(report.data[0] == '{' && strlen((char *)report.data) == report.len);
    state_lab_bytes_free(report);
    const char *skip = "{\"skip\":[\"rows\"]}";
    CHECK(state_lab_verify(manifest.data, manifest.len, copy, skip, NULL, NULL, NULL, &report) == STATE_LAB_STATUS_INCONCLUSIVE);
    state_lab_bytes_free(report);
    CHECK(state_lab_compare(source, copy, NULL, NULL, NULL, NULL, &report) == STATE_LAB_STATUS_PASS);
    state_lab_bytes_free(report);
    /* One byte less. */
    is_error(state_lab_verify(manifest.data, manifest.len - 1, copy, NULL, NULL, NULL, NULL, &report), report, "manifest", "");
    state_lab_bytes_free(manifest);

    for (int stop_at = 1; stop_at <= 2; stop_at++) {
        struct seen stopped = {.caller = pthread_self(), .stop_at = stop_at};
        is_error(state_lab_capture(source, NULL, NULL, on_event, &stopped, &report), report, "interrupted", "");
        CHECK(stopped.events == stop_at);
    }
    bad_arguments(source);
    cancellation(source);
    closed_connections(source);
    return 0;
}
