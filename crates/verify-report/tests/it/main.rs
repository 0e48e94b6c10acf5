//! Tests of histories and of their forms, on stores of real reports.

mod forms;
mod stored;
