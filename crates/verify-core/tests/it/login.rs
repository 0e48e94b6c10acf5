//! Ways to reach a server and to log in, right and wrong.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;

use verify_core::ErrorKind;
use verify_core::postgres::{Connection, SessionOptions};

use crate::temporary_server::server;

const PASSWORD: &str = "right horse";

/// Opens with settings that must fail; the kind and the text of the error.
fn refusal(more: &str) -> (ErrorKind, String) {
    match server().open(more) {
        Ok(_) => panic!("{more}: it connected"),
        Err(error) => {
            assert!(!format!("{error:?}").contains("horse"), "a password is in {error:?}");
            (error.kind().clone(), error.to_string())
        }
    }
}

fn who(connection: &mut Connection) -> (String, bool) {
    let sql = "SELECT session_user, ssl FROM pg_catalog.pg_stat_ssl WHERE pid = pg_catalog.pg_backend_pid()";
    let rows = connection.query(sql).unwrap();
    assert_eq!(rows[0].flag(1).unwrap(), connection.is_tls());
    (rows[0].text(0).unwrap().to_owned(), connection.is_tls())
}

#[test]
fn every_way_in_works() {
    let ca = server().path("ca.crt");
    let ca = ca.display();
    let (certificate, key) = (server().path("client.crt"), server().path("client.key"));
    let client = format!("sslcert={} sslkey={}", certificate.display(), key.display());
    let password = format!("password='{PASSWORD}'");
    let table = [
        (String::new(), "postgres", false),
        ("sslmode=verify-full".into(), "postgres", false),
        (format!("user=scram {password}"), "scram", false),
        ("host=127.0.0.1".into(), "postgres", true),
        ("host=127.0.0.1 sslmode=disable".into(), "postgres", false),
        ("host=127.0.0.1 sslmode=allow".into(), "postgres", false),
        ("host=127.0.0.1 sslmode=allow user=onlytls".into(), "onlytls", true),
        ("host=127.0.0.1 sslmode=prefer user=onlyplain".into(), "onlyplain", false),
        (format!("host=127.0.0.1 sslmode=disable user=scram {password}"), "scram", false),
        (format!("host=127.0.0.1 user=scram {password} channel_binding=require"), "scram", true),
        (format!("host=127.0.0.1 user=scram {password} channel_binding=disable"), "scram", true),
        (format!("host=127.0.0.1 user=md5 {password}"), "md5", true),
        (format!("host=127.0.0.1 user=plain {password}"), "plain", true),
        (format!("host=localhost sslmode=verify-full sslrootcert={ca}"), "postgres", true),
        (format!("host=localhost hostaddr=127.0.0.1 sslmode=verify-full sslrootcert={ca}"), "postgres", true),
        (format!("host=127.0.0.1 sslmode=verify-ca sslrootcert={ca}"), "postgres", true),
        (format!("host=127.0.0.1 sslmode=require sslrootcert={ca}"), "postgres", true),
        (
            format!(
                "host=127.0.0.1 sslmode=require ssl_max_protocol_version=TLSv1.2 user=scram {password} channel_binding=require"
            ),
            "scram",
            true,
        ),
        (format!("host=127.0.0.1 sslmode=require {client} user=certificate"), "certificate", true),
        (format!("host=127.0.0.1 user=scram {password} require_auth=scram-sha-256"), "scram", true),
        (
            "host=127.0.0.1 connect_timeout=5 keepalives_idle=30 keepalives_count=3 tcp_user_timeout=9000"
                .into(),
            "postgres",
            true,
        ),
    ];
    for (more, user, tls) in table {
        assert_eq!(who(&mut server().connect(&more)), (user.to_owned(), tls), "{more}");
    }
}

#[test]
fn a_certificate_that_is_trusted_itself_needs_no_authority() {
    let pinned = server().path("server.crt");
    let more = format!("host=localhost sslmode=verify-full sslrootcert={}", pinned.display());
    assert!(server().connect(&more).is_tls());
    let more = format!("host=127.0.0.1 sslmode=verify-full sslrootcert={}", pinned.display());
    assert_eq!(refusal(&more).0, ErrorKind::Connection);
}

#[test]
fn every_wrong_way_is_refused_for_its_reason() {
    let ca = server().path("ca.crt");
    let other = server().path("other.crt");
    let (ca, other) = (ca.display(), other.display());
    let authentication = ErrorKind::Authentication;
    let table = [
        ("host=127.0.0.1 user=scram password='wrong horse'".into(), authentication.clone(), "28P01"),
        ("user=scram password='wrong horse'".into(), authentication.clone(), "28P01"),
        ("host=127.0.0.1 user=md5 password='wrong horse'".into(), authentication.clone(), "28P01"),
        ("host=127.0.0.1 user=plain password='wrong horse'".into(), authentication.clone(), "28P01"),
        ("user=scram".into(), authentication.clone(), "none is known"),
        ("host=127.0.0.1 user=nobody".into(), authentication.clone(), "28000"),
        ("host=127.0.0.1 user=certificate sslmode=require".into(), authentication.clone(), "28000"),
        (
            format!("user=scram password='{PASSWORD}' channel_binding=require"),
            authentication.clone(),
            "needs TLS",
        ),
        (
            format!(
                "host=127.0.0.1 sslmode=disable user=scram password='{PASSWORD}' channel_binding=require"
            ),
            authentication.clone(),
            "needs TLS",
        ),
        (
            format!("host=127.0.0.1 user=md5 password='{PASSWORD}' channel_binding=require"),
            authentication.clone(),
            "cannot be bound",
        ),
        ("channel_binding=require".into(), authentication.clone(), "without it"),
        (
            format!("host=127.0.0.1 user=plain password='{PASSWORD}' require_auth=scram-sha-256"),
            authentication.clone(),
            "method password",
        ),
        ("require_auth=!none".into(), authentication, "method none"),
        (
            format!("host=127.0.0.1 sslmode=verify-full sslrootcert={ca}"),
            ErrorKind::Connection,
            "not valid for name",
        ),
        (
            format!("host=localhost sslmode=verify-full sslrootcert={other}"),
            ErrorKind::Connection,
            "UnknownIssuer",
        ),
        (
            format!("host=127.0.0.1 sslmode=verify-ca sslrootcert={other}"),
            ErrorKind::Connection,
            "UnknownIssuer",
        ),
        (
            format!("host=127.0.0.1 sslmode=require sslrootcert={other}"),
            ErrorKind::Connection,
            "UnknownIssuer",
        ),
        ("dbname=missing".into(), ErrorKind::Server { sqlstate: "3D000".into() }, "missing"),
        ("host=/nonexistent".into(), ErrorKind::Connection, "socket"),
    ];
    for (more, kind, text) in table {
        let (seen_kind, seen_text) = refusal(&more);
        assert_eq!(seen_kind, kind, "{more}: {seen_text}");
        assert!(seen_text.contains(text), "{more}: {seen_text}");
    }
}

#[test]
fn a_key_that_others_may_read_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let key = home.path().join("client.key");
    fs::copy(server().path("client.key"), &key).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let certificate = server().path("client.crt");
    for mode in ["prefer", "require"] {
        let (certificate, key) = (certificate.display(), key.display());
        let (kind, text) =
            refusal(&format!("host=127.0.0.1 sslmode={mode} sslcert={certificate} sslkey={key}"));
        assert_eq!(kind, ErrorKind::Settings);
        assert!(text.contains("mode 0644"), "{text}");
    }
}

#[test]
fn the_password_file_is_used_or_refused() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join(".pgpass");
    fs::write(&file, format!("127.0.0.1:*:*:scram:{PASSWORD}\n")).unwrap();
    let open = |more: &str| {
        let settings = server().settings_at_home(more, Some(home.path().to_owned()));
        Connection::open(&settings, &SessionOptions::new())
    };
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let error = open("host=127.0.0.1 user=scram").unwrap_err();
    assert_eq!(error.kind(), &ErrorKind::Settings);
    assert!(error.hint().is_some_and(|hint| hint.contains("chmod 0600")), "{:?}", error.hint());
    // It is not needed here, and so does no harm.
    who(&mut open("host=127.0.0.1").unwrap());
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(who(&mut open("host=127.0.0.1 user=scram").unwrap()).0, "scram");
}

#[test]
fn hosts_are_tried_in_order_and_a_failure_names_each() {
    let dead = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let port = server().port;
    let connection = server().connect(&format!("host=127.0.0.1,127.0.0.1 port={dead},{port}"));
    assert_eq!(connection.settings().describe(), format!("postgres@127.0.0.1:{port}/postgres"));

    let (kind, text) = refusal(&format!("host=127.0.0.1,/nonexistent port={dead},{port}"));
    assert_eq!(kind, ErrorKind::Connection);
    assert!(text.contains(&format!("127.0.0.1:{dead}: ")), "{text}");
    assert!(text.contains(&format!("/nonexistent:{port}: ")), "{text}");

    // A server that refuses us ends the search.
    let (kind, _) = refusal(&format!("host=127.0.0.1,127.0.0.1 port={port},{dead} user=nobody"));
    assert_eq!(kind, ErrorKind::Authentication);
}

#[test]
fn the_kind_of_server_is_checked() {
    for (target, fits) in [
        ("any", true),
        ("primary", true),
        ("read-write", true),
        ("prefer-standby", true),
        ("standby", false),
        ("read-only", false),
    ] {
        let opened = server().open(&format!("target_session_attrs={target}"));
        let kind = opened.map(|_| ()).map_err(|error| error.kind().clone());
        assert_eq!(kind, if fits { Ok(()) } else { Err(ErrorKind::Unsuitable) }, "{target}");
    }
    let more = "target_session_attrs=read-only options='-c default_transaction_read_only=on'";
    assert!(!server().connect(more).is_closed());
}

#[test]
fn the_wanted_kind_is_found_among_several_hosts() {
    let (primary, standby) = (server().path(""), server().path("standby-socket"));
    let (primary, standby) = (primary.display(), standby.display());
    for (hosts, target, recovering) in [
        (format!("{standby},{primary}"), "any", "t"),
        (format!("{standby},{primary}"), "primary", "f"),
        (format!("{standby},{primary}"), "read-write", "f"),
        (format!("{primary},{standby}"), "standby", "t"),
        (format!("{primary},{standby}"), "read-only", "t"),
        (format!("{primary},{standby}"), "prefer-standby", "t"),
        (format!("{primary}"), "prefer-standby", "f"),
    ] {
        let mut connection = server().connect(&format!("host={hosts} target_session_attrs={target}"));
        let rows = connection.query("SELECT pg_catalog.pg_is_in_recovery()").unwrap();
        assert_eq!(rows[0].get(0), Some(recovering), "{target} of {hosts}");
    }
    let (kind, text) = refusal(&format!("host={standby} target_session_attrs=read-write"));
    assert_eq!(kind, ErrorKind::Unsuitable);
    assert!(text.contains("it is read-only"), "{text}");
}

#[test]
fn a_server_that_does_not_answer_is_given_up() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    for (mode, doing) in [("disable", "log in: read from the server"), ("require", "ask for TLS")] {
        let more = format!("host=127.0.0.1 port={port} connect_timeout=2 sslmode={mode}");
        let (kind, text) = refusal(&more);
        assert_eq!(kind, ErrorKind::Timeout);
        assert!(text.ends_with(&format!("{doing}: no answer within 2 s")), "{text}");
    }
}
