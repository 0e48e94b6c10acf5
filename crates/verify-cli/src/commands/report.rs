//! `report`: the history of a store of evidence, one report of it, or all of it in a bundle.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use jiff::Timestamp;
use verify_drill::duration::Period;
use verify_drill::quantity::counted;
use verify_drill::store::{Existing, Store};
use verify_evidence::document;
use verify_evidence::entry;
use verify_report::history::{Filter, History};
use verify_report::{bundle, csv, html, junit, openmetrics, text};

use crate::config::Config;
use crate::exit::Exit;
use crate::globals::Globals;
use crate::render;
use crate::store;
use crate::terminal::{self, Output};

/// Print the history of stored reports, or one of them
///
/// Prints for each database when a restore of it was last verified, recovery times and points against their objectives, and
/// every run without a pass. Reports are not verified: `state-lab evidence verify` does that. The exit status is 0,
/// whatever the verdicts.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Report {
    /// The store of evidence: a directory, or s3://bucket/prefix [default: that of the configuration]
    #[arg(value_name = "STORE")]
    store: Option<PathBuf>,
    /// Form of the output; `--output json` is the same as json
    #[arg(long, value_enum, default_value_t = Form::Text, value_name = "FORM")]
    format: Form,
    /// Print one report: text, html or json
    #[arg(long, value_name = "NUMBER", conflicts_with_all = ["database", "since"])]
    run: Option<u64>,
    /// Only runs of this database
    #[arg(long, value_name = "NAME")]
    database: Option<String>,
    /// Only runs that ended within this time, for example 90d
    #[arg(long, value_name = "TIME")]
    since: Option<Period>,
    /// Write to this file instead of standard output
    #[arg(short = 'o', long = "out", value_name = "PATH")]
    file: Option<PathBuf>,
    /// Write all reports, their signatures and the public keys into a .tar.zst file, for an auditor
    #[arg(long, value_name = "FILE", conflicts_with_all = ["format", "run", "database", "since", "file"])]
    bundle: Option<PathBuf>,
    /// The allowed_signers file with the public keys for the bundle
    #[arg(long, value_name = "FILE", requires = "bundle")]
    signers: Option<PathBuf>,
    /// Replace an existing file
    #[arg(long)]
    force: bool,
}

/// Form of a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Form {
    /// Plain text
    Text,
    /// A self-contained page
    Html,
    /// A JSON document
    Json,
    /// JUnit XML, in which only a pass is a passed test
    Junit,
    /// OpenMetrics text
    Openmetrics,
    /// A line for each run and database
    Csv,
}

const EXAMPLES: &str = "\
EXAMPLES:
    state-lab report /var/lib/state-lab/evidence
    state-lab report s3://evidence/shop --since 90d --format html -o history.html
    state-lab report evidence --run 12 --format html -o report.html
    state-lab report evidence --format openmetrics
    state-lab report evidence --bundle evidence.tar.zst --signers allowed_signers";

impl Report {
    pub(crate) fn run(mut self, globals: &Globals) -> Result<Exit> {
        let config = globals.config()?;
        if globals.output == Output::Json {
            self.format = Form::Json;
        }
        let store = store::folder_or_bucket(config.evidence_store(self.store.as_deref())?, config.s3())?;
        if let Some(file) = &self.bundle {
            self.write_bundle(&*store, file, &config)?;
            return Ok(Exit::PASS);
        }
        let now = Timestamp::now();
        let text = match self.run {
            Some(sequence) => self.one(&*store, sequence, globals)?,
            None => self.history(&*store, now)?,
        };
        match &self.file {
            None => terminal::print(&text)?,
            Some(file) => {
                let draft = store::draft(file, config.s3(), self.existing())?;
                draft.keep(&mut |to| Ok(to.write_all(text.as_bytes())?))?;
            }
        }
        Ok(Exit::PASS)
    }

    fn existing(&self) -> Existing {
        if self.force { Existing::Replace } else { Existing::Refuse }
    }

    fn history(&self, store: &dyn Store, now: Timestamp) -> Result<String> {
        let since = self.since.map(|period| now - period.duration());
        let history = History::read(store, &Filter { since, database: self.database.clone() })?;
        Ok(match self.format {
            Form::Text => text::history(&history, now),
            Form::Html => html::page("Restores", &html::history(&history, now, &|_| None)),
            Form::Json => crate::framing::Document::to_json(&history)? + "\n",
            Form::Junit => junit::history(&history)?,
            Form::Openmetrics => openmetrics::metrics(&history)?,
            Form::Csv => csv::history(&history)?,
        })
    }

    fn one(&self, store: &dyn Store, sequence: u64, globals: &Globals) -> Result<String> {
        let found = entry::find(store, sequence)?;
        let entry =
            found.with_context(|| format!("failed to find report {sequence} in {}", store.place()))?;
        let stored = match entry.report {
            Ok(stored) => stored,
            Err(reason) => bail!("failed to read report {sequence} in {}: {reason}", store.place()),
        };
        Ok(match self.format {
            Form::Text => {
                let reports = document::reports(&stored.envelope.document).map_err(anyhow::Error::msg)?;
                let style = globals.terminal().style();
                let reports = reports.iter().map(|report| render::text::report(report, &style) + "\n");
                reports.collect::<String>() + &text::circumstances(&stored)
            }
            Form::Html => {
                html::page(&format!("Report {sequence}"), &html::run(&stored, entry.has_signatures))
            }
            Form::Json => String::from_utf8(stored.envelope.to_json()?)?,
            Form::Junit | Form::Openmetrics | Form::Csv => {
                bail!("failed to print report {sequence}: one report is printed as text, html or json")
            }
        })
    }

    fn write_bundle(&self, store: &dyn Store, file: &Path, config: &Config) -> Result<()> {
        let signers = self
            .signers
            .as_deref()
            .map(|path| std::fs::read(path).with_context(|| format!("failed to read {}", path.display())));
        let signers = signers.transpose()?;
        let mut objects = 0;
        let draft = store::draft(file, config.s3(), self.existing())?;
        draft.keep(&mut |to: &mut dyn Write| {
            objects = bundle::write(store, signers.as_deref(), to)?;
            Ok(())
        })?;
        terminal::print(&format!("bundle: {}, {}\n", file.display(), counted(objects, "object")))
    }
}
