// A backup tool that verifies its restores: it stores a manifest beside the backup, and compares the restored database with it.
//
//	backup-tool capture 'host=db user=backup dbname=shop' shop.manifest
//	backup-tool verify shop.manifest 'host=restored user=postgres dbname=shop'
//
// The exit status is that of state-lab: 0 pass, 1 fail, 2 error, 3 inconclusive.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"example.com/backup-tool/statelab"
)

var statuses = map[statelab.Verdict]int{statelab.Pass: 0, statelab.Fail: 1, statelab.Inconclusive: 3}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	verdict, err := run(ctx, os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		var failure *statelab.Error
		if errors.As(err, &failure) && failure.Hint != "" {
			fmt.Fprintln(os.Stderr, "hint:", failure.Hint)
		}
		os.Exit(2)
	}
	os.Exit(statuses[verdict])
}

func run(ctx context.Context, arguments []string) (statelab.Verdict, error) {
	switch {
	case len(arguments) == 3 && arguments[0] == "capture":
		return capture(ctx, arguments[1], arguments[2])
	case len(arguments) == 3 && arguments[0] == "verify":
		return verify(ctx, arguments[1], arguments[2])
	}
	return "", errors.New("usage: backup-tool capture CONNINFO FILE | backup-tool verify FILE CONNINFO")
}

func capture(ctx context.Context, conninfo, path string) (statelab.Verdict, error) {
	captured, err := statelab.Capture(ctx, conninfo, statelab.Options{"jobs": 2}, show)
	if err != nil {
		return "", err
	}
	return captured.Verdict, os.WriteFile(path, captured.Manifest, 0o600)
}

func verify(ctx context.Context, path, conninfo string) (statelab.Verdict, error) {
	manifest, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	report, err := statelab.Verify(ctx, manifest, conninfo, nil, show)
	if err != nil {
		return "", err
	}
	for _, finding := range report.Comparison.Findings {
		fmt.Printf("%s %s: %s %v\n", finding.Code, finding.Object, finding.Message, finding.Rows.Named)
	}
	fmt.Println("verdict:", report.Verdict)
	return report.Verdict, nil
}

// show prints which tables were read. At "snapshot" start pg_dump with that snapshot, at "measured" wait for it: then the dump is of
// the same point in time as the manifest, whatever is written to the database meanwhile.
func show(event statelab.Event) error {
	if read, ok := event["table-read"]; ok {
		fmt.Fprintf(os.Stderr, "read %s\n", read)
	}
	return nil
}
