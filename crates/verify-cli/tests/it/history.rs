//! `report` and `serve` on a store that runs of the program filled.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::drill::Drill;
use crate::json_schema::validate;
use crate::program::{outcome, run, state_lab};

/// Names, keys, values and messages that attack whatever shows them.
const HOSTILE: &str = r#"
    CREATE DATABASE hostile;
    \c hostile
    SELECT E'=<script>alert(1)</script>"&\x1b[31m\u202e\n::error::' AS hostile \gset
    CREATE TABLE :"hostile" (id text PRIMARY KEY, :"hostile" text);
    INSERT INTO :"hostile" VALUES (:'hostile', 'first'), ('sound', 'second');
    CREATE FUNCTION check_it(id text) RETURNS bool LANGUAGE plpgsql AS
        $$BEGIN IF id <> 'sound' THEN RAISE EXCEPTION '%', id; END IF; RETURN true; END$$;
    \c postgres
    CREATE DATABASE hostile_copy TEMPLATE hostile;
    \c hostile_copy
    UPDATE :"hostile" SET :"hostile" = :'hostile' WHERE id <> 'sound';
    ALTER TABLE :"hostile" ADD CONSTRAINT :"hostile" CHECK (check_it(id)) NOT VALID;
    COMMENT ON TABLE :"hostile" IS :'hostile';
    \c postgres
    ALTER DATABASE hostile RENAME TO :"hostile"
"#;

#[test]
fn no_form_of_a_result_shows_hostile_names_raw() {
    let drill = Drill::new(15);
    let directory = drill.directory();
    drill.source.psql("postgres", HOSTILE).unwrap();
    fs::write(directory.join("state-lab.toml"), "[evidence]\nstore = \"evidence\"\n").unwrap();
    let name = "=<script>alert(1)</script>\"&\u{1b}[31m\u{202e}\n::error::";
    let source = drill.source.conninfo(name);
    let copy = drill.source.conninfo("hostile_copy");
    let captured = run(directory, &["capture", &source, "-o", "m"]);
    assert_eq!(captured.status, Some(0), "{captured:?}");
    let verified = run(directory, &["verify", "m", &copy, "-v"]);
    assert_eq!(verified.status, Some(1), "{verified:?}");
    let inert = |form: &str, text: &str| {
        assert!(text.contains("alert(1)"), "{form} does not name it: {text}");
        // JSON is data: it has names as they are, with its own escapes.
        let raw = ["\x1b", "\n::error::", "\u{202e}"];
        for raw in raw.iter().filter(|raw| **raw != "\u{202e}" || !["json", "JSON"].contains(&form)) {
            assert!(!text.contains(raw), "{form} has {raw:?}: {text}");
        }
    };
    inert("text", &verified.out);
    inert("progress", &format!("{}{}", verified.out, verified.err));
    let json = run(directory, &["verify", "m", &copy, "--output", "json"]);
    inert("JSON", &json.out);
    for form in ["text", "html", "junit", "openmetrics", "csv", "json"] {
        let printed = run(directory, &["report", "--format", form]);
        assert_eq!(printed.status, Some(0), "{form}: {printed:?}");
        inert(form, &printed.out);
        assert!(
            !["html", "junit"].contains(&form) || !printed.out.contains("<script>alert"),
            "{form}: {printed:?}"
        );
    }
    let page = run(directory, &["report", "--run", "1", "--format", "html"]);
    inert("page of a run", &page.out);
    assert!(!page.out.contains("<script>alert"), "{page:?}");
}

#[test]
fn runs_of_the_program_become_a_history() {
    let drill = Drill::new(15);
    let (shop, directory) = (drill.source.conninfo("shop"), drill.directory());
    drill.source.psql("postgres", "CREATE DATABASE copy TEMPLATE shop").unwrap();
    fs::write(directory.join("state-lab.toml"), "[evidence]\nstore = \"evidence\"\n").unwrap();
    let copy = drill.source.conninfo("copy");
    let ran = |arguments: &[&str]| run(directory, arguments);
    assert_eq!(ran(&["capture", &shop, "-o", "m"]).status, Some(0));
    assert_eq!(ran(&["verify", "m", &copy]).status, Some(0));
    drill.source.psql("copy", "DELETE FROM accounts WHERE id = 42").unwrap();
    assert_eq!(ran(&["verify", "m", &copy, "--operator", "on call"]).status, Some(1));

    let history = ran(&["report"]);
    assert_eq!(history.status, Some(0), "{history:?}");
    for text in [
        "shop, cluster ",
        ": 2 runs",
        "(report 1)",
        "newest: fail",
        "row.missing public.accounts",
        "not signed: 2",
    ] {
        assert!(history.out.contains(text), "{text}: {}", history.out);
    }
    let json = ran(&["report", "evidence", "--output", "json"]);
    let document: Value = serde_json::from_str(&json.out).unwrap();
    validate(&state_lab::document::schema(), &document).unwrap();
    assert_eq!(document["runs"][1]["databases"][0]["verdict"], "fail");
    let page = ran(&["report", "--run", "2", "--format", "html", "-o", "run.html"]);
    assert_eq!(page.status, Some(0), "{page:?}");
    let page = fs::read_to_string(directory.join("run.html")).unwrap();
    assert!(page.contains("id=42") && page.contains("on call") && page.contains("Not signed"), "{page}");
    let again = ran(&["report", "--run", "2", "--format", "html", "-o", "run.html"]);
    assert_eq!(again.status, Some(2), "an existing file is not replaced");
    let one = ran(&["report", "--run", "2"]);
    assert!(one.out.contains("id=42"), "{}", one.out);
    for format in ["junit", "openmetrics", "csv", "html"] {
        let printed = ran(&["report", "--format", format, "--database", "shop", "--since", "1h"]);
        assert!(printed.status == Some(0) && printed.out.contains("shop"), "{format}: {printed:?}");
    }
    let bundled = ran(&["report", "--bundle", "evidence.tar.zst"]);
    assert_eq!((bundled.status, bundled.out.as_str()), (Some(0), "bundle: evidence.tar.zst, 4 objects\n"));
    let missing = ran(&["report", "--run", "9"]);
    assert!(missing.status == Some(2) && missing.err.contains("failed to find report 9"), "{missing:?}");
    let nowhere = ran(&["report", "no-such-directory"]);
    assert!(nowhere.status == Some(2) && nowhere.err.contains("it is not a directory"), "{nowhere:?}");
}

#[test]
fn the_dashboard_is_served_until_a_signal_and_only_where_it_may_be() {
    let directory = tempfile::tempdir().unwrap();
    let store = directory.path().join("evidence");
    fs::create_dir(&store).unwrap();
    let refused = run(directory.path(), &["serve", "evidence", "--listen", "0.0.0.0:0"]);
    assert!(refused.status == Some(2) && refused.err.contains("hint: give --token-file"), "{refused:?}");
    fs::write(directory.path().join("token"), "short\n").unwrap();
    let short = run(directory.path(), &["serve", "evidence", "--token-file", "token"]);
    assert!(
        short.status == Some(2) && short.err.contains("16 characters") && !short.err.contains("short\n"),
        "{short:?}"
    );

    let mut command = state_lab(directory.path());
    command
        .args(["serve", "evidence", "--listen", "127.0.0.1:0"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut server = command.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(server.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let address = line.trim().strip_prefix("serving http://").unwrap_or_else(|| panic!("{line}")).to_owned();
    let mut stream = TcpStream::connect(&address).unwrap();
    write!(stream, "GET / HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("Restores now"), "{answer}");
    kill_process(Pid::from_child(&server), Signal::TERM).unwrap();
    let ended = outcome(&server.wait_with_output().unwrap());
    assert_eq!(ended.status, Some(0), "{ended:?}");
}
