package statelab

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"
)

// The connection string of a database on a real server.
var conninfo = os.Getenv("CONNINFO")

var slow = Options{"invariants": []any{map[string]string{"name": "slow", "sql": "SELECT pg_sleep(60)", "expect": "no-rows"}}}

func TestAContextEndsARunningStatement(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	began := time.Now()
	_, err := Capture(ctx, conninfo, slow, nil)
	if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > 40*time.Second {
		t.Fatalf("%v after %v", err, time.Since(began))
	}
}

func TestACallbackStopsTheWork(t *testing.T) {
	mine, calls := errors.New("mine"), 0
	_, err := Capture(context.Background(), conninfo, nil, func(Event) error { calls++; return mine })
	if err != mine || calls != 1 {
		t.Fatalf("%v after %d calls", err, calls)
	}
}

func TestAPanicOfTheCallbackPassesThrough(t *testing.T) {
	defer func() {
		if recovered := recover(); recovered != "mine" {
			t.Fatalf("%v", recovered)
		}
	}()
	_, err := Capture(context.Background(), conninfo, nil, func(Event) error { panic("mine") })
	t.Fatalf("no panic, but %v", err)
}

func TestAnErrorHasItsKindAndNoSecret(t *testing.T) {
	for connection, kind := range map[string]string{
		conninfo + " dbname=missing password=hunter2": "server",
		"passwort=hunter2":                            "settings",
		"host=\xff":                                   "usage",
	} {
		_, err := Capture(context.Background(), connection, nil, nil)
		var failure *Error
		if !errors.As(err, &failure) || failure.Kind != kind || strings.Contains(err.Error()+failure.Hint, "hunter2") {
			t.Fatalf("%v", err)
		}
	}
	_, err := Capture(context.Background(), conninfo, Options{"job": 1}, nil)
	if err == nil || !strings.Contains(err.Error(), "unknown field `job`") {
		t.Fatalf("%v", err)
	}
}
