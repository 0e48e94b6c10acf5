/* state-lab: verifies that a restored PostgreSQL database is the one that was backed up.
 *
 * Generated from crates/verify-ffi/src/abi.rs; docs/embedding.md explains it. */

#ifndef STATE_LAB_H
#define STATE_LAB_H

#include <stddef.h>
#include <stdint.h>

// Version of this interface. It grows when a function, type or status changes or is removed; additions leave it.
#define STATE_LAB_ABI_VERSION 1

// Outcome of a call. The numbers are those of the program's exit status.
typedef enum {
    // The databases are the same, or the manifest covers everything.
    STATE_LAB_STATUS_PASS = 0,
    // The databases differ, or the server found its data damaged.
    STATE_LAB_STATUS_FAIL = 1,
    // The answer could not be found out: the result is an error.
    STATE_LAB_STATUS_ERROR = 2,
    // No difference was found, but something was not checked. Never treat it as a pass.
    STATE_LAB_STATUS_INCONCLUSIVE = 3,
} state_lab_status;

// Ends calls from another thread.
typedef struct state_lab_token state_lab_token;

// Bytes that the library owns: release them with `state_lab_bytes_free`. A zero byte, which `len` does not count, follows
// them. `data` may be null.
typedef struct {
    // First byte.
    uint8_t *data;
    // Number of bytes.
    size_t len;
} state_lab_bytes;

// Receives an event as one line of JSON. Valid until it returns; it may be called many times a second, always on the thread
// that made the call. To stop the work, return another value than zero. It must neither unwind nor jump out.
typedef int (*state_lab_on_event)(const char *event, void *user_data);

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// Returns the version of the interface that the library has. Compare it with `STATE_LAB_ABI_VERSION` first.
uint32_t state_lab_abi_version(void);

// Returns the version of state-lab. The text is constant, and not to be released.
const char *state_lab_version(void);

// Creates a token. Release it with `state_lab_token_free`.
state_lab_token *state_lab_token_new(void);

// Ends every call that has this token, and those that it is passed to later. Any thread may call it, also in a signal
// handler. Null is ignored.
//
// # Safety
//
// `token` is null, or from `state_lab_token_new` and not released.
void state_lab_token_cancel(const state_lab_token *token);

// Releases a token. Calls that have it must have returned. Null is ignored.
//
// # Safety
//
// `token` is null, or from `state_lab_token_new` and not released; no call uses it.
void state_lab_token_free(state_lab_token *token);

// Releases the bytes of a result. Those that are null are ignored.
//
// # Safety
//
// `bytes` is a result of this library, with neither field changed, and not released.
void state_lab_bytes_free(state_lab_bytes bytes);

// Measures a database, and gives its manifest. Between the events `snapshot` and `measured` the callback may take a backup of
// the same point in time.
//
// `conninfo` is a whole connection string: no environment variable and no file of the home directory is read. `options` is a
// JSON object, or null for the defaults; `token`, `on_event` and `user_data` may be null. `result` receives the file of the
// manifest, or, with `ERROR`, the error as JSON.
//
// # Safety
//
// Texts end with a zero byte, and every pointer that is not null is valid until the call returns. Neither `result` nor
// `user_data` is used by another thread meanwhile.
state_lab_status state_lab_capture(const char *conninfo,
                                   const char *options,
                                   const state_lab_token *token,
                                   state_lab_on_event on_event,
                                   void *user_data,
                                   state_lab_bytes *result);

// Compares a restored database with a manifest, the `manifest_len` bytes of its file, and gives the report as JSON.
//
// The other arguments are those of `state_lab_capture`.
//
// # Safety
//
// As for `state_lab_capture`.
state_lab_status state_lab_verify(const uint8_t *manifest,
                                  size_t manifest_len,
                                  const char *conninfo,
                                  const char *options,
                                  const state_lab_token *token,
                                  state_lab_on_event on_event,
                                  void *user_data,
                                  state_lab_bytes *result);

// Compares two running databases, to which nothing may be written meanwhile, and gives the report as JSON.
//
// The other arguments are those of `state_lab_capture`.
//
// # Safety
//
// As for `state_lab_capture`.
state_lab_status state_lab_compare(const char *source,
                                   const char *restored,
                                   const char *options,
                                   const state_lab_token *token,
                                   state_lab_on_event on_event,
                                   void *user_data,
                                   state_lab_bytes *result);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* STATE_LAB_H */
