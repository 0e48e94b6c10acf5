//! The programs in `examples/`, on a real server.

use verify_core::finding::Verdict;
use verify_core::{Error, ErrorKind};

#[expect(dead_code, reason = "a program, of which the tests call a part")]
#[path = "../../examples/async_backup_tool.rs"]
mod async_backup_tool;
#[expect(dead_code, reason = "a program, of which the tests call a part")]
#[path = "../../examples/backup_tool.rs"]
mod backup_tool;

#[test]
fn they_prove_a_sound_copy_and_find_damage() {
    let server = fixtures::server(15).unwrap();
    for database in ["shop", "copy"] {
        server.create_database(database).unwrap();
        server
            .psql(
                database,
                "CREATE TABLE orders (id int PRIMARY KEY); INSERT INTO orders SELECT generate_series(1, 100)",
            )
            .unwrap();
    }
    let (shop, copy) = (server.conninfo("shop"), server.conninfo("copy"));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let verdicts = || {
        let asynchronous = runtime
            .block_on(async_backup_tool::verify_restore(&shop.parse().unwrap(), &copy.parse().unwrap()));
        [backup_tool::verify_restore(&shop, &copy).unwrap(), asynchronous.unwrap()]
    };
    assert_eq!(verdicts(), [Verdict::Pass; 2]);
    server.psql("copy", "DELETE FROM orders WHERE id = 42").unwrap();
    assert_eq!(verdicts(), [Verdict::Fail; 2]);
    let missing = backup_tool::verify_restore(&shop, &server.conninfo("missing")).unwrap_err();
    assert_eq!(missing.sqlstate(), Some("3D000"));
    assert!(async_backup_tool::hint(&missing).contains("3D000"));
    let refused = Error::new(ErrorKind::Authentication, "log in");
    assert!(async_backup_tool::hint(&refused).starts_with("correct the connection settings: "));
}

/// A future that is dropped ends the statement that its work waits for.
#[test]
fn dropping_a_future_ends_its_statement_on_the_server() {
    use verify_core::plan::Plan;
    use verify_core::postgres::{Environment, Settings};

    let server = fixtures::server(15).unwrap();
    server.create_database("slow").unwrap();
    server.psql("slow", "CREATE TABLE t (id int); INSERT INTO t VALUES (1)").unwrap();
    let settings = Settings::parse(&server.conninfo("slow"), &Environment::default()).unwrap();
    let plan = Plan::default().with_invariants([verify_core::invariant::Invariant {
        name: "sleeps".to_owned(),
        sql: "SELECT pg_sleep(50)".to_owned(),
        expect: verify_core::invariant::Expect::NoRows,
    }]);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let asleep = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
    let number = || server.psql("slow", asleep).unwrap().trim().to_owned();
    let until = |wanted: &str| {
        let begun = std::time::Instant::now();
        while number() != wanted {
            assert!(begun.elapsed().as_secs() < 40, "{} sessions sleep", number());
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
    };
    runtime.block_on(async {
        let work = tokio::spawn(verify_core::asynchronous::capture(settings, plan, |event| {
            verify_core::event::ignore(event)
        }));
        tokio::task::block_in_place(|| until("1"));
        work.abort();
        let _ = work.await;
        tokio::task::block_in_place(|| until("0"));
    });
}
