//! Two kinds of work, timed in turns on a machine that is noisy: the ratio of each pair, and their median.

use std::time::Instant;

use anyhow::{Result, ensure};

/// A pair of times.
#[derive(Clone, Copy, Debug)]
pub struct Pair {
    /// Seconds of the work that the other is compared with.
    pub base_s: f64,
    /// Seconds of the work.
    pub work_s: f64,
}

/// Pairs, sorted by their ratio.
#[derive(Clone, Debug)]
pub struct Pairs(Vec<Pair>);

impl Pair {
    fn ratio(&self) -> f64 {
        self.work_s / self.base_s
    }
}

impl Pairs {
    /// Times both kinds of work `rounds` times, and begins with the other one each time.
    ///
    /// # Errors
    ///
    /// That of the work, or if there are no rounds.
    pub fn time(
        rounds: usize,
        mut base: impl FnMut() -> Result<()>,
        mut work: impl FnMut() -> Result<()>,
    ) -> Result<Self> {
        ensure!(rounds > 0, "no rounds");
        // The first reads fill the caches.
        base()?;
        let mut pairs = Vec::new();
        for round in 0..rounds {
            let (base_s, work_s) = if round % 2 == 0 {
                let base_s = seconds(&mut base)?;
                (base_s, seconds(&mut work)?)
            } else {
                let work_s = seconds(&mut work)?;
                (seconds(&mut base)?, work_s)
            };
            pairs.push(Pair { base_s, work_s });
        }
        pairs.sort_by(|a, b| a.ratio().total_cmp(&b.ratio()));
        Ok(Self(pairs))
    }

    /// The pair in the middle.
    #[must_use]
    pub fn median(&self) -> Pair {
        self.0[self.0.len() / 2]
    }

    /// The median ratio.
    #[must_use]
    pub fn ratio(&self) -> f64 {
        self.median().ratio()
    }

    /// The smallest and the largest ratio.
    #[must_use]
    pub fn spread(&self) -> (f64, f64) {
        (self.0[0].ratio(), self.0[self.0.len() - 1].ratio())
    }
}

/// The median.
///
/// # Panics
///
/// If there are no values.
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Seconds that the work takes.
///
/// # Errors
///
/// That of the work.
pub fn seconds(work: &mut dyn FnMut() -> Result<()>) -> Result<f64> {
    let began = Instant::now();
    work()?;
    Ok(began.elapsed().as_secs_f64())
}
