//! The provider of backups by Velero.

pub mod velero;
