//! Tests of connection settings: precedence, refusals, secrecy.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::postgres::connection_variables;
use crate::postgres::tls_settings::ClientCertificate;

type Variables<'a> = &'a [(&'a str, &'a str)];

fn environment(variables: Variables<'_>) -> Environment {
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Environment { variables, home: None, user: Some("os".into()) }
}

fn settings(text: &str, variables: Variables<'_>) -> Settings {
    Settings::parse(text, &environment(variables)).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn refusal(text: &str, variables: Variables<'_>) -> String {
    match Settings::parse(text, &environment(variables)) {
        Ok(settings) => panic!("{text} gives {settings:?}"),
        Err(error) => {
            assert_eq!(error.kind(), &ErrorKind::Settings, "{text}");
            error.to_string()
        }
    }
}

#[test]
fn places_are_described_without_secrets() {
    let table: &[(&str, Variables, &str)] = &[
        ("host=h user=u dbname=d password=hunter2", &[], "u@h:5432/d"),
        ("postgres://u:hunter2@a:1,[::1]:2/d", &[], "u@a:1,[::1]:2/d"),
        ("host=h", &[], "os@h:5432/os"),
        ("host=h user=u", &[], "u@h:5432/u"),
        ("", &[("PGHOST", "e"), ("PGPORT", "7"), ("PGUSER", "eu"), ("PGDATABASE", "ed")], "eu@e:7/ed"),
        ("host=h", &[("PGHOST", "e"), ("PGPORT", "7")], "os@h:7/os"),
        ("host=h port=''", &[("PGPORT", "7")], "os@h:5432/os"),
        ("host=/run/pg port=6000", &[], "os@/run/pg:6000/os"),
        ("host=a,b,c port=1", &[], "os@a:1,b:1,c:1/os"),
        ("host=a,b port=1,", &[], "os@a:1,b:5432/os"),
        ("hostaddr=127.0.0.1", &[], "os@127.0.0.1:5432/os"),
        ("host=name hostaddr=::1", &[], "os@name:5432/os"),
        ("host=h dbname='a\x1b[2J\nb'", &[], "os@h:5432/a[2J b"),
        ("host=h host=i", &[], "os@i:5432/os"),
    ];
    for (text, variables, expected) in table {
        let settings = settings(text, variables);
        assert_eq!(settings.describe(), *expected, "{text}");
        assert!(!format!("{settings:?}").contains("hunter2"), "{settings:?}");
    }
    assert!(!format!("{:?}", environment(&[("PGPASSWORD", "hunter2")])).contains("hunter2"));
}

#[test]
fn without_a_host_a_socket_is_looked_for() {
    // No server listens on port 1, so that no socket is found.
    assert_eq!(settings("port=1", &[]).describe(), "os@localhost:1/os");
}

#[test]
fn what_is_unsupported_is_refused_by_name() {
    let table: &[(&str, Variables, &str)] = &[
        ("gssencmode=require", &[], "gssencmode"),
        ("", &[("PGGSSENCMODE", "require")], "PGGSSENCMODE"),
        ("krbsrvname=x", &[], "krbsrvname"),
        ("gsslib=gssapi", &[], "gsslib"),
        ("sslcrl=/x", &[], "sslcrl"),
        ("sslpassword=hunter2", &[], "sslpassword"),
        ("requirepeer=postgres", &[], "requirepeer"),
        ("replication=database", &[], "replication"),
        ("load_balance_hosts=random", &[], "load_balance_hosts"),
        ("client_encoding=LATIN1", &[], "client_encoding"),
        ("sslcompression=1", &[], "sslcompression"),
        ("oauth_client_secret=hunter2", &[], "oauth_client_secret"),
        ("hots=a", &[], "\"hots\""),
        ("sslmode=on", &[], "sslmode: \"on\" is not one of disable, allow, prefer"),
        ("sslmode=verify-full", &[], "root.crt does not exist"),
        ("sslmode=verify-ca sslrootcert=/nonexistent/ca", &[], "/nonexistent/ca does not exist"),
        ("sslrootcert=system sslmode=require", &[], "verify-full"),
        ("sslnegotiation=direct", &[], "sslnegotiation=direct"),
        ("ssl_max_protocol_version=TLSv1.1", &[], "ssl_max_protocol_version"),
        ("ssl_min_protocol_version=TLSv1.3 ssl_max_protocol_version=TLSv1.2", &[], "is above"),
        ("sslcert=/nonexistent/crt", &[], "/nonexistent/crt does not exist"),
        ("connect_timeout=soon", &[], "connect_timeout"),
        ("target_session_attrs=master", &[], "target_session_attrs"),
        ("channel_binding=maybe", &[], "channel_binding"),
        ("require_auth=kerberos", &[], "require_auth"),
        ("host=a,b port=1,2,3", &[], "3 ports do not match 2 hosts"),
        ("host=a,b hostaddr=::1", &[], "2 names do not match 1 addresses"),
        ("port=70000", &[], "a port is not a number"),
        ("port=0", &[], "a port is not a number"),
        ("postgres://u:hunter2/x@h/d", &[], "%40"),
        ("postgres://u:x@hunter2@h/d", &[], "%40"),
        ("postgres://u:hunter2/x", &[], "a port is not a number"),
        ("hostaddr=localhost", &[], "numeric address"),
        ("host=@abstract", &[], "abstract"),
        ("service=none", &[("PGSYSCONFDIR", "/nonexistent")], "service \"none\""),
    ];
    for (text, variables, expected) in table {
        let text_of_error = refusal(text, variables);
        assert!(text_of_error.contains(expected), "{text}: {text_of_error}");
        assert!(!text_of_error.contains("hunter2"), "{text_of_error}");
    }
}

#[test]
fn what_asks_for_nothing_is_accepted() {
    let text = "gssencmode=disable load_balance_hosts=disable client_encoding=UTF8 replication=false \
                sslcompression=0 gssdelegation=0 krbsrvname=postgres keepalives=0 tcp_user_timeout=5000";
    let settings = settings(text, &[("PGGSSENCMODE", "prefer")]);
    assert_eq!(settings.keepalive.user_timeout_ms, Some(5000));
    assert!(!settings.keepalive.enabled);
}

#[test]
fn a_connect_timeout_is_ten_seconds_and_at_least_two() {
    let table = [("", Some(10)), ("0", None), ("-1", None), ("1", Some(2)), (" 30 ", Some(30))];
    for (text, expected) in table {
        let settings = settings("", &[("PGCONNECT_TIMEOUT", text)]);
        assert_eq!(settings.connect_timeout, expected.map(Duration::from_secs), "{text}");
    }
}

#[test]
fn the_service_stands_between_the_string_and_the_environment() {
    let home = TempDir::new().unwrap();
    fs::write(
        home.path().join(".pg_service.conf"),
        "[nightly]\nhost=service\nport=7000\nuser=su\npassword=hunter2\n",
    )
    .unwrap();
    let mut env = environment(&[("PGPORT", "1"), ("PGDATABASE", "ed"), ("PGSERVICE", "nightly")]);
    env.home = Some(home.path().to_owned());
    let settings = Settings::parse("user=cu", &env).unwrap();
    assert_eq!(settings.describe(), "cu@service:7000/ed");
    let host = settings.hosts[0].clone();
    assert_eq!(settings.password_for(&host).unwrap(), Some(Secret::new("hunter2")));

    fs::write(home.path().join(".pg_service.conf"), "[nightly]\nhots=x\n").unwrap();
    let error = Settings::parse("", &env).unwrap_err().to_string();
    assert!(error.contains("\"nightly\"") && error.contains("\"hots\""), "{error}");
}

#[test]
fn passwords_come_from_the_file_by_host_database_and_user() {
    let home = TempDir::new().unwrap();
    let file = home.path().join(".pgpass");
    fs::write(&file, "localhost:*:*:os:socket\nb:5432:d:os:for b\n*:*:other:os:for other\n").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let mut env = environment(&[]);
    env.home = Some(home.path().to_owned());
    let password = |settings: &Settings, index: usize| {
        let found = settings.password_for(&settings.hosts[index]).unwrap();
        found.map(|secret| secret.reveal().to_owned())
    };
    let settings = Settings::parse("host=a,b,/tmp,/run/elsewhere dbname=d", &env).unwrap();
    let found: Vec<_> = (0..4).map(|index| password(&settings, index)).collect();
    assert_eq!(found, [None, Some("for b".into()), Some("socket".into()), None]);
    assert_eq!(password(&settings.with_database("other"), 0).as_deref(), Some("for other"));
    let settings = Settings::parse("host=b dbname=d password=given", &env).unwrap();
    assert_eq!(password(&settings, 0).as_deref(), Some("given"));
}

#[test]
fn the_root_file_and_the_client_certificate_are_found_at_home() {
    let home = TempDir::new().unwrap();
    let directory = home.path().join(".postgresql");
    fs::create_dir(&directory).unwrap();
    let mut env = environment(&[]);
    env.home = Some(home.path().to_owned());
    let tls = |text: &str| Settings::parse(text, &env).unwrap().tls;
    assert_eq!((tls("").roots, tls("").client), (Roots::Any, None));
    assert_eq!(tls("sslrootcert=system").mode.name(), "verify-full");
    for name in ["root.crt", "postgresql.crt"] {
        fs::write(directory.join(name), "").unwrap();
    }
    assert_eq!(tls("sslmode=require").roots, Roots::File(directory.join("root.crt")));
    let pair = ClientCertificate {
        certificate: directory.join("postgresql.crt"),
        key: directory.join("postgresql.key"),
    };
    assert_eq!(tls("").client, Some(pair));
    assert_eq!(tls("sslcertmode=disable").client, None);
}

#[test]
fn a_child_is_sent_to_the_same_place_by_variables() {
    let text = "host=name,/run/pg hostaddr=10.0.0.1, port=1,2 user=u dbname=d password=hunter2 \
                sslmode=require channel_binding=require target_session_attrs=primary options='-c a=b' \
                connect_timeout=9 require_auth=scram-sha-256";
    let child = settings(text, &[("PGPASSFILE", "/p")]).child_environment();
    let expected = [
        ("PGHOST", "name,/run/pg"),
        ("PGPORT", "1,2"),
        ("PGUSER", "u"),
        ("PGDATABASE", "d"),
        ("PGSSLMODE", "require"),
        ("PGGSSENCMODE", "disable"),
        ("PGHOSTADDR", "10.0.0.1,"),
        ("PGPASSWORD", "hunter2"),
        ("PGPASSFILE", "/p"),
        ("PGOPTIONS", "-c a=b"),
        ("PGCONNECT_TIMEOUT", "9"),
        ("PGREQUIREAUTH", "scram-sha-256"),
        ("PGCHANNELBINDING", "require"),
        ("PGTARGETSESSIONATTRS", "primary"),
    ];
    let expected: Vec<_> = expected.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
    assert_eq!(child, expected);
    // Read back, they are the same place; and every one of them is cleared from what a child inherits.
    let variables = child.iter().cloned().collect();
    let again = Settings::parse("", &Environment { variables, home: None, user: None });
    assert_eq!(again.unwrap().child_environment(), child);
    for (name, _) in &child {
        assert!(connection_variables().any(|known| known == name), "{name}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn no_text_panics(text in "\\PC*", scheme in "(postgres://|postgresql://|)") {
        let _ = Settings::parse(&format!("{scheme}{text}"), &environment(&[]));
    }

    #[test]
    fn no_text_of_the_syntax_panics(text in "(postgres://|host|=|'|\\\\| |a|@|:|/|\\[|\\]|%|2F|\\?|&|,|port|é|\u{0})*") {
        let _ = Settings::parse(&text, &environment(&[]));
    }

    #[test]
    fn a_quoted_value_comes_back(value in "[^\u{0}]*") {
        let quoted = value.replace('\\', "\\\\").replace('\'', "\\'");
        let settings = settings(&format!("host=h user=u password='{quoted}'"), &[]);
        let found = settings.password_for(&settings.hosts[0]).unwrap();
        prop_assert_eq!(found.map_or(String::new(), |secret| secret.reveal().to_owned()), value);
    }
}
