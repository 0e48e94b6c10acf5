//! Parts shared by all drills and providers: names and records of backups, files that are written atomically, the
//! request to stop, and the reports of a restore. It knows no cloud and no terminal.
#![expect(missing_docs, reason = "an internal crate of the program, whose names say what they are")]

pub mod backup_name;
pub mod backup_record;
pub mod deviation;
pub mod duration;
pub mod failure;
pub mod hint;
pub mod interrupt;
pub mod judging;
pub mod lock;
pub mod openmetrics;
pub mod problem;
pub mod process_group;
pub mod provider;
pub mod quantity;
pub mod recovery;
pub mod report_file;
pub mod runtime;
pub mod size;
pub mod store;
pub mod until;
pub mod watch;
