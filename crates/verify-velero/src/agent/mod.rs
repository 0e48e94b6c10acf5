//! The part of state-lab that runs in pods, beside a database, at the order of the state-lab that made them.
//!
//! A pod is made to wait ([`pod`]). For each piece of work another process is run in it, which is given one [`Order`] a
//! line on its standard input, and answers with one [`Message`] a line on its standard output. So no secret is in a
//! manifest or an argument list, the rows stay inside the cluster, and a lost caller is noticed: the process
//! loses its input, or hears nothing, and stops. The agent says every some seconds that it lives, so that its caller
//! notices as much of it.

mod capture;
mod manifests;
mod message;
mod order;
mod orders;
mod output;
pub mod pod;
mod probe;
mod restore;
mod stage;

pub use manifests::Assembly;
pub use message::{Message, Verified, parts};
pub use order::{Access, CaptureOrder, Conninfo, Order, RestoreOrder, StageOrder};
pub use orders::{SIGN_OF_LIFE, SILENCE_MAX};
pub use probe::probe;

use anyhow::{Result, bail};

use self::orders::Orders;
use crate::cluster::recognise;
use verify_drill::failure::Failure;
use verify_drill::interrupt;

/// Does the work that the first order names. A failure of the work is reported in a message, and returned.
///
/// # Errors
///
/// If the orders cannot be read.
pub fn work() -> Result<Option<Failure>> {
    output::begin();
    let orders = Orders::listen();
    let done = match orders.next()? {
        Order::Capture(order) => capture::capture(order, &orders),
        Order::Stage(order) => stage::stage(&order),
        Order::Restore(order) => restore::restore(*order, &orders),
        Order::Probe(order) => probe::begin(&order),
        Order::Follow(order) => probe::follow(&order),
        Order::ReadBack(order) => probe::read_back(&order),
        Order::Discard(order) => probe::discard(&order),
        Order::GoOn | Order::Release | Order::Manifest(_) => {
            bail!("failed to start: unexpected first order")
        }
    };
    match done {
        Ok(()) => {
            output::send(&Message::Done);
            Ok(None)
        }
        Err(error) => {
            let failure = match interrupt::asked() {
                true => Failure::interruption(&error),
                false => Failure::of(&error, recognise),
            };
            output::send(&Message::Failed(failure.clone()));
            Ok(Some(failure))
        }
    }
}
