//! The part of state-lab that runs in pods, beside a database, at the order of the state-lab that made them.
//!
//! A pod is made to wait ([`pod`]). For each piece of work another process is run in it, which is given one [`Order`] a
//! line on its standard input, and answers with one [`Message`] a line on its standard output. So no secret stands in a
//! manifest or an argument list, the rows stay inside the cluster, and a caller that is gone is noticed: the process
//! loses its input, or hears nothing, and stops. The agent says every some seconds that it lives, so that its caller
//! notices as much of it.

mod capture;
mod manifests;
mod message;
mod order;
mod orders;
pub(crate) mod pod;
mod probe;
mod restore;
mod stage;
mod voice;

pub(crate) use manifests::Assembly;
pub(crate) use message::{Message, Verified, failed, parts};
pub(crate) use order::{Access, CaptureOrder, Conninfo, Order, RestoreOrder, StageOrder};
pub(crate) use orders::{SIGN_OF_LIFE, SILENCE_MAX};
pub(crate) use probe::probe;

use anyhow::{Result, bail};

use self::orders::Orders;
use crate::exit::Exit;

/// Does the work that the first order names.
///
/// # Errors
///
/// If the orders cannot be read. What goes wrong with the work itself is told in a message.
pub(crate) fn work() -> Result<Exit> {
    voice::begin();
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
            voice::tell(&Message::Done);
            Ok(Exit::PASS)
        }
        Err(error) => {
            let exit = crate::failure::exit(&error, verify_drill::interrupt::asked());
            let told = crate::failure::Failure::of(&error, exit).text(&crate::render::Style::plain());
            voice::tell(&Message::Failed { told });
            Ok(exit)
        }
    }
}
