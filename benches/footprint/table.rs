//! Figures, what they are held to, and the one table.

/// One figure of quotad and, where it does anything of the kind, of the floor.
pub(crate) struct Row {
    name: String,
    quotad: f64,
    floor: Option<f64>,
    limit: Limit,
}

#[derive(Clone, Copy)]
enum Limit {
    Told,
    Most(f64),
    Times(f64),
}

impl Row {
    /// A figure that is held to nothing.
    pub(crate) fn new(name: impl Into<String>, quotad: f64) -> Self {
        Self { name: name.into(), quotad, floor: None, limit: Limit::Told }
    }

    /// The same of the floor.
    pub(crate) fn beside(self, floor: f64) -> Self {
        Self { floor: Some(floor), ..self }
    }

    pub(crate) fn at_most(self, limit: f64) -> Self {
        Self { limit: Limit::Most(limit), ..self }
    }

    pub(crate) fn at_most_times_the_floor(self, limit: f64) -> Self {
        Self { limit: Limit::Times(limit), ..self }
    }

    /// The most that is allowed, in the unit of the figure.
    fn most(&self, room: f64) -> f64 {
        match self.limit {
            Limit::Told => f64::INFINITY,
            Limit::Most(limit) => limit * room,
            Limit::Times(limit) => self.floor.unwrap_or_default() * limit * room,
        }
    }
}

/// What was measured, over plain HTTP and over HTTPS.
pub(crate) struct Table {
    /// Every limit is so many times as wide.
    room: f64,
    rows: Vec<(bool, Row)>,
}

impl Table {
    pub(crate) fn new(room: f64) -> Self {
        Self { room, rows: Vec::new() }
    }

    /// Takes a figure in. Said at once as well, since the whole takes minutes.
    pub(crate) fn add(&mut self, secure: bool, row: Row) {
        let floor = row.floor.map(|floor| format!(", floor {}", amount(floor))).unwrap_or_default();
        println!("    {}{}: {}{floor}", row.name, if secure { ", HTTPS" } else { "" }, amount(row.quotad));
        self.rows.push((secure, row));
    }

    /// Prints it; whether every limit holds.
    pub(crate) fn print(&self) -> bool {
        let mut holds = true;
        println!("\n{:<44} {:>10} {:>10} {:>6}", "", "quotad", "floor", "ratio");
        for secure in [false, true] {
            let rows: Vec<_> = self.rows.iter().filter(|(of, _)| *of == secure).collect();
            if !rows.is_empty() {
                println!("{}", if secure { "HTTPS" } else { "HTTP" });
            }
            for (_, row) in rows {
                let floor = row.floor.map(amount).unwrap_or_default();
                let ratio = row.floor.map(|floor| format!("{:.2}", row.quotad / floor)).unwrap_or_default();
                let is_kept = row.quotad <= row.most(self.room);
                holds &= is_kept;
                let broken = if is_kept { "" } else { "  BROKEN" };
                let name = &row.name;
                println!("  {name:<42} {:>10} {floor:>10} {ratio:>6}  {}{broken}", amount(row.quotad), self.limit(row));
            }
        }
        holds
    }

    fn limit(&self, row: &Row) -> String {
        match row.limit {
            Limit::Told => String::new(),
            Limit::Most(limit) => format!("at most {}", amount(limit * self.room)),
            Limit::Times(times) => format!("at most {} times", times * self.room),
        }
    }
}

/// Three digits or so of a figure.
fn amount(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        ..10.0 => format!("{value:.2}"),
        ..100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

/// The value below which this share of the values lies.
pub(crate) fn percentile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    values[((values.len() - 1) as f64 * share).round() as usize]
}
