//! Tests of an open session.

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use verify_core::ErrorKind;
use verify_core::postgres::{Connection, Type, connection_variables};

use crate::temporary_server::server;

/// Bulk readers take sessions to their threads.
const _: fn() = || {
    fn can_be_sent<T: Send>() {}
    can_be_sent::<Connection>();
    can_be_sent::<verify_core::postgres::CancelHandle>();
};

fn one(connection: &mut Connection, sql: &str) -> String {
    let rows = connection.query(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
    rows[0].text(0).unwrap().to_owned()
}

#[test]
fn session_options_win_over_role_and_options() {
    let mut connection =
        server().connect("options='-c search_path=public -c DateStyle=German -c work_mem=3MB'");
    for (name, expected) in [
        ("search_path", "\"\""),
        ("DateStyle", "ISO, YMD"),
        ("IntervalStyle", "postgres"),
        ("TimeZone", "UTC"),
        ("extra_float_digits", "3"),
        ("bytea_output", "hex"),
        ("row_security", "off"),
        ("client_encoding", "UTF8"),
        ("lock_timeout", "1s"),
        ("statement_timeout", "1min"),
        ("idle_in_transaction_session_timeout", "0"),
        ("synchronize_seqscans", "off"),
        ("application_name", "state-lab"),
        ("work_mem", "3MB"),
    ] {
        assert_eq!(one(&mut connection, &format!("SHOW {name}")), expected, "{name}");
    }
    let error = connection.query("SELECT * FROM visible").unwrap_err();
    assert_eq!(error.sqlstate(), Some("42P01"));
    assert_eq!(
        one(&mut connection, "SELECT pg_catalog.array_length(current_schemas(false), 1) IS NULL"),
        "t"
    );
    assert_eq!(one(&mut server().connect("application_name=mine"), "SHOW application_name"), "mine");
}

#[test]
fn a_server_notices_soon_that_its_client_is_gone() {
    let settings = [
        ("tcp_keepalives_idle", "10"),
        ("tcp_keepalives_interval", "5"),
        ("tcp_keepalives_count", "3"),
        ("tcp_user_timeout", "180000"),
    ];
    let mut connection = server().connect("host=127.0.0.1");
    for (name, expected) in settings {
        assert_eq!(one(&mut connection, &format!("SHOW {name}")), expected, "{name}");
    }
    let mut connection = server().connect("");
    for (name, _) in settings {
        assert_eq!(one(&mut connection, &format!("SHOW {name}")), "0", "{name} of a socket");
    }
}

#[test]
fn an_error_leaves_the_session_usable() {
    let mut connection = server().connect("");
    let error = connection.query("SELECT 1; SELECT 1 / 0; SELECT 2").unwrap_err();
    assert_eq!(error.kind(), &ErrorKind::Server { sqlstate: "22012".into() });
    assert_eq!(error.to_string(), "ERROR: division by zero [22012]");
    assert_eq!(connection.transaction_status(), b'I');
    connection.execute("BEGIN").unwrap();
    assert_eq!(connection.transaction_status(), b'T');
    connection.execute("nonsense").unwrap_err();
    assert_eq!(connection.transaction_status(), b'E');
    connection.execute("ROLLBACK").unwrap();
    assert_eq!(one(&mut connection, "SELECT 1; SELECT 2"), "2");
    assert_eq!(connection.query("").unwrap(), []);
    assert_eq!(connection.query("SELECT NULL").unwrap()[0].get(0), None);
    assert_eq!(connection.query("SELECT 'a\0'").unwrap_err().kind(), &ErrorKind::Protocol);
    assert_eq!(one(&mut connection, "SELECT 'é'"), "é");
}

#[test]
fn notices_and_parameters_may_come_at_any_time() {
    let mut connection = server().connect("");
    connection.execute("DO $$ BEGIN RAISE NOTICE 'hear this'; END $$").unwrap();
    assert!(connection.parameter("server_version").unwrap().starts_with("15."));
    connection.execute("SET application_name = 'changed'").unwrap();
    assert_eq!(connection.parameter("application_name"), Some("changed"));
    connection.execute("LISTEN here; NOTIFY here").unwrap();
    let pid = connection.backend_pid().to_string();
    assert_eq!(one(&mut connection, "SELECT pg_catalog.pg_backend_pid()"), pid);
}

#[test]
fn rows_larger_than_the_buffer_come_whole() {
    for place in ["", "host=127.0.0.1"] {
        let mut connection = server().connect(place);
        let rows = connection
            .query("SELECT pg_catalog.repeat(i::text, 900000), i FROM pg_catalog.generate_series(1, 3) AS i")
            .unwrap();
        for (index, row) in rows.iter().enumerate() {
            let number = index + 1;
            assert_eq!(row.number::<usize>(1).unwrap(), number, "{place}");
            assert!(row.text(0).unwrap() == number.to_string().repeat(900_000), "{place}");
        }
        assert_eq!(rows.len(), 3);
    }
}

#[test]
fn a_result_beyond_the_limit_is_refused() {
    let mut connection = server().connect("");
    let sql = "SELECT pg_catalog.repeat('x', 9000000) FROM pg_catalog.generate_series(1, 100)";
    let error = connection.query(sql).unwrap_err();
    assert_eq!(error.to_string(), "read a result: it is larger than 256 MiB");
    // Reading the rest to its end could take for ever.
    assert!(connection.is_closed());
}

#[test]
fn a_single_query_is_one_statement_and_knows_whether_there_is_more() {
    let mut connection = server().connect("");
    let error = connection.query_single("SELECT 1; DROP TABLE public.visible", 10).unwrap_err();
    assert_eq!(error.sqlstate(), Some("42601"));
    let sql = "SELECT i, 'x' AS name FROM pg_catalog.generate_series(1, 3) AS i";
    for (limit, rows, more) in [(0, 0, true), (2, 2, true), (3, 3, false), (u32::MAX, 3, false)] {
        let answer = connection.query_single(sql, limit).unwrap();
        assert_eq!((answer.rows.len(), answer.more), (rows, more), "{limit}");
        assert_eq!(answer.columns, ["i", "name"]);
    }
    let answer = connection.query_single("SET work_mem = '1MB'", 1).unwrap();
    assert_eq!((answer.columns, answer.rows, answer.more), (vec![], vec![], false));
    assert_eq!(one(&mut connection, "SELECT 1"), "1");
}

#[test]
fn values_are_sent_beside_the_statement() {
    let mut connection = server().connect("");
    let text = "'; DROP TABLE public.visible; --";
    let sql = "SELECT $1 AS said, $2 + 1, $2 > 6, $3, 7::oid, NULL::text";
    let values = [(&text as _, Type::TEXT), (&6_i64 as _, Type::INT8), (&None::<i32> as _, Type::INT4)];
    let rows = connection.query_with(sql, &values).unwrap();
    let seen: Vec<_> = (0..rows[0].len()).map(|i| rows[0].get(i)).collect();
    assert_eq!(seen, [Some(text), Some("7"), Some("f"), None, Some("7"), None]);
    let error = connection.query_with("SELECT 1; SELECT $1", &[(&1_i32, Type::INT4)]).unwrap_err();
    assert_eq!(error.sqlstate(), Some("42601"));
    let error = connection.query_with("SELECT 1 / $1", &[(&0_i32, Type::INT4)]).unwrap_err();
    assert_eq!(error.to_string(), "ERROR: division by zero [22012]");
    // A type that is not shown is an error and no guess, and so is a value of another type.
    connection.query_with("SELECT 1.5 + $1", &[(&1_i32, Type::INT4)]).unwrap_err();
    assert!(connection.is_closed());
    let mut connection = server().connect("");
    connection.query_with("SELECT $1", &[(&1_i64, Type::INT4)]).unwrap_err();
    assert!(connection.query("SELECT 1").is_err());
}

#[test]
fn copy_is_refused_without_harm() {
    let mut connection = server().connect("");
    for sql in ["COPY public.visible FROM STDIN", "COPY (SELECT 1) TO STDOUT"] {
        assert!(connection.query(sql).unwrap_err().to_string().contains("COPY"), "{sql}");
        assert_eq!(one(&mut connection, "SELECT 1"), "1", "{sql}");
        assert!(connection.query_single(sql, 1).unwrap_err().to_string().contains("COPY"), "{sql}");
        assert_eq!(one(&mut connection, "SELECT 1"), "1", "{sql}");
    }
}

#[test]
fn a_statement_is_cancelled_from_outside() {
    for place in ["", "host=127.0.0.1 sslmode=disable", "host=127.0.0.1 sslmode=require"] {
        let mut connection = server().connect(place);
        let handle = connection.cancel_handle();
        let done = AtomicBool::new(false);
        let error = thread::scope(|scope| {
            // A request before the statement began does nothing, so it is repeated.
            scope.spawn(|| {
                while !done.load(Ordering::Acquire) {
                    handle.cancel().unwrap();
                }
            });
            let error = connection.query("SELECT pg_catalog.pg_sleep(60)").unwrap_err();
            done.store(true, Ordering::Release);
            error
        });
        assert_eq!(error.sqlstate(), Some("57014"), "{place}: {error}");
    }
}

#[test]
fn a_broken_session_stays_broken() {
    let mut connection = server().connect("");
    let sql = format!("SELECT pg_catalog.pg_terminate_backend({}, 10000)", connection.backend_pid());
    assert_eq!(one(&mut server().connect(""), &sql), "t");
    let error = connection.query("SELECT 1").unwrap_err();
    // Either the farewell was read, or the socket was found closed while sending.
    assert!(error.sqlstate() == Some("57P01") || error.kind() == &ErrorKind::Connection, "{error:?}");
    let error = connection.query("SELECT 1").unwrap_err();
    assert_eq!(error.kind(), &ErrorKind::Connection);
    assert!(connection.is_closed());
}

#[test]
fn a_child_program_meets_the_same_server() {
    let ca = server().path("ca.crt");
    let more = format!(
        "host=localhost hostaddr=127.0.0.1 user=scram password='right horse' sslmode=verify-full sslrootcert={}",
        ca.display()
    );
    let settings = server().settings(&more);
    let mut child = Command::new("/usr/lib/postgresql/15/bin/psql");
    for name in connection_variables() {
        child.env_remove(name);
    }
    child.envs(settings.child_environment()).args(["-XAtc", "SELECT session_user, inet_server_port()"]);
    let output = child.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text, format!("scram|{}\n", server().port), "{}", String::from_utf8_lossy(&output.stderr));
}
