// Package statelab verifies that a restored PostgreSQL database is the one that was backed up.
//
// A mismatch is a Report with the verdict "fail". An error means that the answer could not be found out.
package statelab

// #cgo LDFLAGS: -lverify_ffi
// #include <stdlib.h>
// #include "state_lab.h"
//
// extern int stateLabOnEvent(char *event, void *user_data);
import "C"

import (
	"context"
	"encoding/json"
	"errors"
	"runtime/cgo"
	"strings"
	"unsafe"
)

// Verdict is the answer: "pass", "fail" or "inconclusive". The last is no pass: something was not checked.
type Verdict string

const (
	Pass         Verdict = "pass"
	Fail         Verdict = "fail"
	Inconclusive Verdict = "inconclusive"
)

// Captured is a captured database.
type Captured struct {
	// Manifest is the manifest's file, to be stored beside the backup.
	Manifest []byte
	// Verdict is Pass if the manifest covers everything.
	Verdict Verdict
}

// Report is what docs/report.schema.json describes; JSON has all of it.
type Report struct {
	Verdict    Verdict `json:"verdict"`
	Comparison struct {
		Findings []struct {
			Code    string `json:"code"`
			Object  string `json:"object"`
			Message string `json:"message"`
			Rows    struct {
				Named []string `json:"named"`
			} `json:"rows"`
		} `json:"findings"`
	} `json:"comparison"`
	JSON []byte `json:"-"`
}

// Event has one key, its name.
type Event map[string]json.RawMessage

// OnEvent receives progress, on the goroutine that made the call. Its error ends the work, and is returned by the call.
type OnEvent func(Event) error

// Options of a call; docs/embedding.md has their meaning and defaults.
type Options map[string]any

// Error says why something could not be found out. It holds no secret.
type Error struct {
	Kind     string   `json:"kind"`
	SQLState string   `json:"sqlstate"`
	Causes   []string `json:"causes"`
	Hint     string   `json:"hint"`
}

func (e *Error) Error() string { return strings.Join(e.Causes, ": ") }

// Capture measures a database. Between the events "snapshot" and "measured" the callback may take a backup of the same point in
// time.
func Capture(ctx context.Context, conninfo string, options Options, onEvent OnEvent) (Captured, error) {
	source := C.CString(conninfo)
	defer C.free(unsafe.Pointer(source))
	verdict, manifest, err := run(ctx, options, onEvent, func(c call) C.state_lab_status {
		return C.state_lab_capture(source, c.options, c.token, c.onEvent, c.userData, c.result)
	})
	return Captured{manifest, verdict}, err
}

// Verify compares a restored database with the manifest of its source.
func Verify(ctx context.Context, manifest []byte, conninfo string, options Options, onEvent OnEvent) (*Report, error) {
	restored, bytes := C.CString(conninfo), C.CBytes(manifest)
	defer C.free(unsafe.Pointer(restored))
	defer C.free(bytes)
	return report(run(ctx, options, onEvent, func(c call) C.state_lab_status {
		length := C.size_t(len(manifest))
		return C.state_lab_verify((*C.uint8_t)(bytes), length, restored, c.options, c.token, c.onEvent, c.userData, c.result)
	}))
}

// Compare compares two running databases, to which nothing may be written meanwhile.
func Compare(ctx context.Context, source, restored string, options Options, onEvent OnEvent) (*Report, error) {
	one, other := C.CString(source), C.CString(restored)
	defer C.free(unsafe.Pointer(one))
	defer C.free(unsafe.Pointer(other))
	return report(run(ctx, options, onEvent, func(c call) C.state_lab_status {
		return C.state_lab_compare(one, other, c.options, c.token, c.onEvent, c.userData, c.result)
	}))
}

// call has the arguments that all calls share.
type call struct {
	options  *C.char
	token    *C.state_lab_token
	onEvent  C.state_lab_on_event
	userData unsafe.Pointer
	result   *C.state_lab_bytes
}

// watcher is what the callback finds behind its handle.
type watcher struct {
	onEvent  OnEvent
	err      error
	panicked any
}

func run(ctx context.Context, options Options, onEvent OnEvent, work func(call) C.state_lab_status) (Verdict, []byte, error) {
	if C.state_lab_abi_version() != C.STATE_LAB_ABI_VERSION {
		return "", nil, errors.New("libverify_ffi has another interface than the header")
	}
	document, err := json.Marshal(options)
	if err != nil {
		return "", nil, err
	}
	var c call
	if options != nil {
		c.options = C.CString(string(document))
		defer C.free(unsafe.Pointer(c.options))
	}
	c.token = C.state_lab_token_new()
	defer C.state_lab_token_free(c.token)
	watch := &watcher{onEvent: onEvent}
	handle := cgo.NewHandle(watch)
	defer handle.Delete()
	if onEvent != nil {
		c.onEvent, c.userData = C.state_lab_on_event(C.stateLabOnEvent), unsafe.Pointer(&handle)
	}
	c.result = (*C.state_lab_bytes)(C.calloc(1, C.sizeof_state_lab_bytes))
	defer C.free(unsafe.Pointer(c.result))

	done, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		select {
		case <-ctx.Done():
			C.state_lab_token_cancel(c.token)
		case <-done:
		}
	}()
	status := work(c)
	close(done)
	// The token is released only after the goroutine no longer uses it.
	<-stopped
	defer C.state_lab_bytes_free(*c.result)

	switch {
	case watch.panicked != nil:
		panic(watch.panicked)
	case watch.err != nil:
		return "", nil, watch.err
	}
	answer := C.GoBytes(unsafe.Pointer(c.result.data), C.int(c.result.len))
	switch status {
	case C.STATE_LAB_STATUS_PASS:
		return Pass, answer, nil
	case C.STATE_LAB_STATUS_FAIL:
		return Fail, answer, nil
	case C.STATE_LAB_STATUS_INCONCLUSIVE:
		return Inconclusive, answer, nil
	}
	if ctx.Err() != nil {
		return "", nil, ctx.Err()
	}
	failure := &Error{}
	if err := json.Unmarshal(answer, failure); err != nil {
		return "", nil, err
	}
	return "", nil, failure
}

func report(verdict Verdict, document []byte, err error) (*Report, error) {
	if err != nil {
		return nil, err
	}
	report := &Report{JSON: document}
	if err := json.Unmarshal(document, report); err != nil {
		return nil, err
	}
	report.Verdict = verdict
	return report, nil
}

// A panic must not unwind through the library: it is raised again when the call has returned.
//
//export stateLabOnEvent
func stateLabOnEvent(line *C.char, userData unsafe.Pointer) (stop C.int) {
	watch := (*(*cgo.Handle)(userData)).Value().(*watcher)
	defer func() {
		if panicked := recover(); panicked != nil {
			watch.panicked, stop = panicked, 1
		}
	}()
	var event Event
	if watch.err = json.Unmarshal([]byte(C.GoString(line)), &event); watch.err == nil {
		watch.err = watch.onEvent(event)
	}
	if watch.err != nil {
		return 1
	}
	return 0
}
