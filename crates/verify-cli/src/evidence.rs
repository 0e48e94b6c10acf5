//! Evidence of a run: its document, stored after the newest report, and signed where there is a key.

use std::fs::File;
use std::ops::ControlFlow;
use std::sync::OnceLock;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use jiff::Timestamp;
use serde_json::Value;
use verify_core::event;
use verify_drill::deviation::Deviation;
use verify_drill::failure::is_interruption;
use verify_drill::interrupt;
#[cfg(feature = "report")]
use verify_drill::store::Folder;
use verify_drill::store::Store;
use verify_drill::watch::Event;
use verify_evidence::chain::{Appended, Signer, append};
#[cfg(feature = "report")]
use verify_evidence::entry;
use verify_evidence::entry::sha256_of;
use verify_evidence::envelope::{Run, Trigger};
use verify_evidence::key::SigningKey;
use verify_evidence::keys::Redaction;
#[cfg(feature = "report")]
use verify_report::{html, running::RunningFile};

use crate::config::{Config, EvidenceTable};
use crate::document::{ErrorDocument, Failed};
use crate::exit::Exit;
use crate::framing::Document;
use crate::globals::Globals;
use crate::progress::Progress;
use crate::{failure, store, terminal};

/// Flags about the evidence of a run.
#[derive(Args, Debug)]
#[command(next_help_heading = "Evidence")]
pub(crate) struct EvidenceFlags {
    /// Store no evidence of this run, whatever the configuration says
    #[arg(long)]
    no_evidence: bool,
    /// What started the run; stored with its evidence
    #[arg(long, value_enum, value_name = "WHAT")]
    trigger: Option<TriggerFlag>,
    /// The person who runs it; stored with its evidence
    #[arg(long, value_name = "NAME")]
    operator: Option<String>,
    /// The person who approved it; stored with its evidence
    #[arg(long, value_name = "NAME")]
    approver: Option<String>,
    /// A known gap between the run and a real disaster; stored with its evidence: "TEXT; ticket=ID; owner=NAME; due=DATE"
    #[arg(long = "deviation", value_name = "TEXT")]
    deviations: Vec<Deviation>,
}

/// What started a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum TriggerFlag {
    /// A person
    Hand,
    /// A timer or a CronJob
    Schedule,
    /// A game day
    GameDay,
}

impl From<TriggerFlag> for Trigger {
    fn from(trigger: TriggerFlag) -> Self {
        match trigger {
            TriggerFlag::Hand => Self::Hand,
            TriggerFlag::Schedule => Self::Schedule,
            TriggerFlag::GameDay => Self::GameDay,
        }
    }
}

/// The evidence of a run that has begun; nothing where none is to be stored.
#[must_use]
pub(crate) struct Evidence(Option<Writer>);

/// Publishes a line about a stored report.
type Publish = Box<dyn Fn(&str) -> Result<()> + Send + Sync>;

struct Writer {
    store: Box<dyn Store>,
    signer: Option<Signer>,
    redaction: Redaction,
    /// All of it but the end.
    run: Run,
    quiet: bool,
    /// Publishes the stored report outside of the store.
    publish: OnceLock<Publish>,
    /// The state of the run, for the dashboard. A bucket has none: each write would be billed, and kept where versions are.
    #[cfg(feature = "report")]
    running: Option<RunningFile>,
}

impl EvidenceFlags {
    /// Opens the store and reads the key, before the work whose evidence they are to keep.
    ///
    /// # Errors
    ///
    /// If the store or the key cannot be used.
    pub(crate) fn begin(self, command: &str, config: &Config, globals: &Globals) -> Result<Evidence> {
        let Self { no_evidence, trigger, operator, approver, deviations } = self;
        let Some(table) = config.evidence().filter(|_| !no_evidence) else { return Ok(Evidence(None)) };
        let EvidenceTable { store, key, signers: _, identity, every, keys, keys_secret } = table;
        store::create_folder(store)?;
        #[cfg(feature = "report")]
        let running =
            store.is_dir().then(|| RunningFile::begin(Folder::new(store.clone()), command, Timestamp::now));
        let store = store::folder_or_bucket(store, config.s3())?;
        // A store that cannot be listed is not one to which a report can be appended.
        store.folders("")?;
        let signer = match (key, identity) {
            (Some(key), Some(identity)) => {
                Some(Signer { key: SigningKey::read(key)?, identity: identity.clone() })
            }
            _ => None,
        };
        let now = Timestamp::now();
        let run = Run {
            id: Run::new_id(now)?,
            command: command.to_owned(),
            trigger: trigger.map(Trigger::from),
            operator,
            approver,
            deviations,
            next_due_at: every.and_then(|every| now.checked_add(every.duration()).ok()),
            host: rustix::system::uname().nodename().to_str().ok().map(str::to_owned),
            tool_version: env!("CARGO_PKG_VERSION").to_owned(),
            tool_sha256: program_sha256()?,
            config_sha256: config.sha256().map(str::to_owned),
            started_at: now,
            finished_at: now,
        };
        let redaction = Redaction::new(*keys, keys_secret.as_deref())?;
        Ok(Evidence(Some(Writer {
            store,
            signer,
            redaction,
            run,
            quiet: globals.quiet,
            publish: OnceLock::new(),
            #[cfg(feature = "report")]
            running,
        })))
    }
}

impl Evidence {
    /// Adds an event of the run to its state, which the dashboard shows.
    pub(crate) fn note(&self, event: &Event) {
        #[cfg(feature = "report")]
        if let Some(running) = self.0.as_ref().and_then(|writer| writer.running.as_ref()) {
            running.add(event);
        }
        #[cfg(not(feature = "report"))]
        let _ = (self, event);
    }

    /// Shows an event of a measurement, and returns whether to go on.
    pub(crate) fn take(&self, event: event::Event, progress: &Progress) -> ControlFlow<()> {
        self.note(&Event::Measure(event.clone()));
        progress.take(event)
    }

    /// From now on publishes the report with `publish` once it is stored.
    pub(crate) fn publish_with(&self, publish: impl Fn(&str) -> Result<()> + Send + Sync + 'static) {
        if let Some(writer) = &self.0 {
            let _ = writer.publish.set(Box::new(publish));
        }
    }

    /// Does work; an error with which it ends is evidence too, unless it was interrupted.
    pub(crate) fn watch<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        work().inspect_err(|error| {
            if is_interruption(error) || interrupt::asked() {
                return;
            }
            let Some(writer) = &self.0 else { return };
            let failure = failure::of(error, Exit::COULD_NOT_RUN);
            let is_restore = writer.run.command == "restore";
            let document = ErrorDocument {
                backup_status: None,
                restore_status: is_restore.then_some(Failed::Failed),
                error: &failure,
            };
            writer.conclude(&document);
        })
    }

    /// Stores a document, prints it, and returns how the process is to end: a report that could not be stored counts as a
    /// run that could not be made, whatever its verdict.
    pub(crate) fn conclude(
        &self,
        document: &impl Document,
        exit: Exit,
        print: impl FnOnce() -> Result<()>,
    ) -> Result<Exit> {
        let Some(writer) = &self.0 else {
            print()?;
            return Ok(exit);
        };
        let stored = writer.store(document);
        let printed = print();
        let is_stored = writer.report(stored);
        printed?;
        Ok(if is_stored { exit } else { Exit::COULD_NOT_RUN })
    }
}

impl Writer {
    fn conclude(&self, document: &impl Document) {
        self.report(self.store(document));
    }

    fn store(&self, document: &impl Document) -> Result<Appended> {
        let text = document.to_json().context("failed to write the result as JSON")?;
        let mut document: Value = serde_json::from_str(&text).context("failed to read the result as JSON")?;
        self.redaction.apply(&mut document);
        let run = Run { finished_at: Timestamp::now(), ..self.run.clone() };
        append(&*self.store, &run, &document, self.signer.as_ref(), &Timestamp::now)
            .with_context(|| format!("failed to store the evidence in {}", self.store.place()))
    }

    /// Stores the page of a report beside it.
    #[cfg(feature = "report")]
    fn store_page(&self, sequence: u64) -> Result<()> {
        let entry = entry::find(&*self.store, sequence)?.context("the report does not exist")?;
        let stored = entry.report.map_err(anyhow::Error::msg)?;
        let page = html::page(&format!("Report {sequence}"), &html::run(&stored, entry.has_signatures));
        self.store.put_new(&entry::key(sequence, entry::PAGE), page.as_bytes())
    }

    /// Prints where the evidence is, or why it is not there.
    fn report(&self, stored: Result<Appended>) -> bool {
        match stored {
            Ok(Appended { head, key }) => {
                #[cfg(feature = "report")]
                if let Err(error) = self.store_page(head.sequence) {
                    terminal::print_note(&format!("the page of the report was not stored: {error:#}\n"));
                }
                let signed = match &self.signer {
                    Some(signer) => format!("signed by {}", signer.identity),
                    None => "not signed, because [evidence] has no key".to_owned(),
                };
                let line =
                    format!("evidence: {key} in {}, {signed}; SHA-256 {}", self.store.place(), head.sha256);
                if !self.quiet || self.signer.is_none() {
                    terminal::print_note(&format!("{line}\n"));
                }
                // A failure to do so changes neither the verdict nor what is stored.
                if let Some(Err(error)) = self.publish.get().map(|publish| publish(&line)) {
                    terminal::print_note(&format!(
                        "could not record the evidence on the backup: {error:#}\n"
                    ));
                }
                true
            }
            Err(error) => {
                let style = crate::render::Style::plain();
                terminal::print_note(&failure::text(&failure::of(&error, Exit::COULD_NOT_RUN), &style));
                false
            }
        }
    }
}

/// SHA-256 of the file of this program.
fn program_sha256() -> Result<String> {
    let doing = "failed to read the file of this program";
    // The path may by now be that of another version.
    let file = File::open("/proc/self/exe").or_else(|_| File::open(std::env::current_exe()?));
    sha256_of(file.context(doing)?).context(doing)
}
