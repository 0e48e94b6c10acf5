//! An extension of PostgreSQL's contrib modules on the copy: found or installed, and removed again where it was not there.

use tokio_postgres::types::Type;

use super::{Role, said, statements};
use crate::error::Result;
use crate::postgres::connection::Connection;
use crate::postgres::reader::obstacle;
use crate::postgres::rows::{Row, first};
use crate::postgres::sandbox::Sandbox;
use crate::table::shown_identifier;

/// An extension that can be called.
pub(super) struct Extension {
    name: &'static str,
    /// Schema of its functions.
    pub(super) schema: String,
    pub(super) server_version: u32,
    /// True if this run installed it.
    ours: bool,
    /// Functions that the role may call, with the types of their arguments.
    callable: Vec<(String, String)>,
}

/// A function that is called, with the types of its arguments as `pg_proc` has them.
pub(super) struct Function {
    pub(super) name: &'static str,
    pub(super) arguments: &'static str,
    /// The first `server_version_num` whose extension must have it.
    pub(super) since: u32,
}

impl Function {
    /// A function that the extension need not have, see [`Extension::may_call`].
    pub(super) const fn optional(name: &'static str, arguments: &'static str) -> Self {
        Self { name, arguments, since: u32::MAX }
    }
}

impl Extension {
    /// Finds or installs the extension with the functions; or why it cannot be had.
    pub(super) fn ready(
        control: &mut Connection,
        name: &'static str,
        functions: &[Function],
        role: &Role,
    ) -> Result<Result<Self, String>> {
        let rows = control.query_with(statements::EXTENSION, &[(&name, Type::NAME)])?;
        let row = first(&rows)?;
        let (available, installed, server_version) = (row.flag(0)?, row.get(1), row.number(2)?);
        // An installed extension is only a promise of files, which this server may not have.
        let loaded =
            if available && role.superuser { control.execute(&statements::load(name)) } else { Ok(()) };
        if let Err(error) = &loaded {
            obstacle(error)?;
        }
        if !available || loaded.is_err() {
            let why = loaded.err().map(|error| format!(" ({})", said(&error))).unwrap_or_default();
            return Ok(Err(format!(
                "not checked: the server that runs the copy lacks the extension {name}{why}; run it from an image \
                 that has PostgreSQL's contrib modules"
            )));
        }
        if installed.is_none() {
            if !role.superuser {
                return Ok(Err(format!(
                    "not checked: the extension {name} is not installed, and {} may not install it: verify as a superuser of \
                     the restored server, or have one run docs/privileges.sql with restored=yes in this database",
                    role.name
                )));
            }
            if let Err(reason) = Sandbox::ready(control)? {
                return Ok(Err(reason));
            }
            control.execute(&statements::install_extension(name))?;
        }
        let schema = installed.map_or_else(|| statements::extension_schema(name), str::to_owned);
        let ours = installed.is_none();
        let has = control.query_with(statements::EXTENSION_FUNCTIONS, &[(&name, Type::NAME)])?;
        let callable = has.iter().filter(|row| row.get(2) == Some("t"));
        let callable = callable.filter_map(|row| Some((row.get(0)?.to_owned(), row.get(1)?.to_owned())));
        let extension = Self { name, schema, server_version, ours, callable: callable.collect() };
        for Function { name: function, arguments, since } in functions {
            let is_it = |row: &&Row| (row.get(0), row.get(1)) == (Some(*function), Some(*arguments));
            let forbidden = |row: &Row| row.get(2) != Some("t");
            let found = has.iter().find(is_it);
            if server_version >= *since && found.is_some_and(forbidden) {
                extension.remove(control)?;
                return Ok(Err(format!(
                    "not checked: {role} may not call {name}'s {function}: verify as a superuser of the restored server, or have one \
                     run GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA {schema} TO {role} and GRANT USAGE ON SCHEMA {schema} TO {role}",
                    role = role.name,
                    schema = shown_identifier(&extension.schema),
                )));
            }
            if server_version >= *since && found.is_none() {
                extension.remove(control)?;
                return Ok(Err(format!(
                    "not checked: the installed extension {name} is of an older version than the server; run ALTER \
                     EXTENSION {name} UPDATE on the source"
                )));
            }
        }
        Ok(Ok(extension))
    }

    /// Returns whether the extension has an optional function that the role may call.
    pub(super) fn may_call(&self, function: &Function) -> bool {
        let is_it = |(name, arguments): &(String, String)| {
            (&**name, &**arguments) == (function.name, function.arguments)
        };
        self.callable.iter().any(is_it)
    }

    pub(super) fn remove(&self, control: &mut Connection) -> Result<()> {
        if self.ours { control.execute(&statements::remove_extension(self.name)) } else { Ok(()) }
    }
}
