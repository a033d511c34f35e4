//! The past as comma-separated values, for spreadsheets and scripts.

use crate::control::history::{History, Sample, Window};

const HEADER: &str = "account,window,label,unit,at,used_percent,used,limit,remaining,resets_at,reset\n";

/// A header and a row for each sample. Quoted as RFC 4180 has it; lines end as text lines do here, without a CR.
pub(super) fn render(history: &History) -> String {
    let rows = history.windows.iter().flat_map(|window| window.samples.iter().map(move |sample| (window, sample)));
    rows.fold(HEADER.to_owned(), |text, (window, sample)| text + &row(&history.account, window, sample))
}

fn row(account: &str, window: &Window, sample: &Sample) -> String {
    let fields = [
        account.to_owned(),
        window.id.clone(),
        window.label.clone(),
        window.unit.clone().unwrap_or_default(),
        sample.at.to_string(),
        sample.used_percent.map(|percent| percent.to_string()).unwrap_or_default(),
        sample.used.clone().unwrap_or_default(),
        sample.limit.clone().unwrap_or_default(),
        sample.remaining.clone().unwrap_or_default(),
        sample.resets_at.map(|at| at.to_string()).unwrap_or_default(),
        sample.reset.to_string(),
    ];
    fields.map(|field| quoted(&field)).join(",") + "\n"
}

fn quoted(field: &str) -> String {
    if field.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", field.replace('"', "\"\""))
    } else {
        field.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::history::sample::history;
    use crate::control::wire::sample::at;

    #[test]
    fn each_sample_is_a_row_under_a_header_and_quoted_where_it_must_be() {
        let mut week = history(at("2026-11-18T12:15:00Z"));
        week.windows[0].samples.drain(2..);
        assert_eq!(
            render(&week),
            "\
account,window,label,unit,at,used_percent,used,limit,remaining,resets_at,reset
personal,five_hour,5-hour,,2026-11-18T09:00:00Z,12,,,,2026-11-18T14:00:00Z,false
personal,five_hour,5-hour,,2026-11-23T08:00:00Z,3.5,,,,2026-11-23T13:00:00Z,true
personal,extra_spend,\"extra \"\"spend\"\", 追加\",EUR,2026-11-19T09:00:00Z,,12.00,50.00,,,false
personal,extra_spend,\"extra \"\"spend\"\", 追加\",EUR,2026-11-24T09:00:00Z,,20.10,50.00,,,false
"
        );
        assert_eq!(quoted("a\nb"), "\"a\nb\"");
    }
}
