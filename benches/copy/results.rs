//! The results as a table in Markdown.

use crate::{
    measure::Usage,
    registry::Requests,
    tools::{TOOLS, Tool},
};

/// One run of a tool.
pub struct Sample {
    pub tool: Tool,
    pub usage: Usage,
    /// At the source, and at the target.
    pub requests: [Requests; 2],
    /// To and from the source and the target; only measured with latency.
    pub bytes: Option<[u64; 2]>,
}

/// Prints the header.
pub fn print_head() {
    let names = TOOLS.map(Tool::name).join(" | ");
    println!("| | {names} | ratio to the best peer | ratio to the floor |\n|{}", "---|".repeat(TOOLS.len() + 3));
}

/// Prints the rows of one pass over one case.
pub fn print(what: &str, samples: &[Sample]) {
    row(&format!("**{what}**: wall, s"), samples, 3, |sample| sample.usage.wall.as_secs_f64());
    row("CPU, s", samples, 3, |sample| sample.usage.cpu.as_secs_f64());
    row("peak memory, MiB", samples, 1, |sample| mebibytes(sample.usage.peak));
    texts("requests, source + target", samples, |sample| {
        let [source, target] = sample.requests;
        let kind = if [source, target].iter().all(|requests| requests.all == requests.heads) { " HEAD" } else { "" };
        Some(format!("{} + {}{kind}", source.all, target.all))
    });
    texts("MiB, source + target", samples, |sample| {
        let [source, target] = sample.bytes?.map(mebibytes);
        Some(format!("{source:.2} + {target:.2}"))
    });
}

pub fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// A row of medians, and the ratios of the program's.
fn row(what: &str, samples: &[Sample], digits: usize, number: impl Fn(&Sample) -> f64) {
    let medians = TOOLS.map(|tool| {
        let numbers = samples.iter().filter(|sample| sample.tool == tool).map(&number);
        (tool, median(numbers.collect()))
    });
    let of = |tool| medians.iter().find(|(found, _)| *found == tool).unwrap().1;
    let peers = medians.iter().filter(|(tool, _)| tool.is_peer()).map(|(_, median)| *median);
    let [best, floor] = [peers.fold(f64::INFINITY, f64::min), of(Tool::Floor)].map(|least| of(Tool::Copycat) / least);
    let cells = medians.map(|(_, median)| format!("{median:.digits$}")).join(" | ");
    println!("| {what} | {cells} | {best:.2} | {floor:.2} |");
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    let middle = numbers.len() / 2;
    if numbers.len() % 2 == 1 { numbers[middle] } else { f64::midpoint(numbers[middle - 1], numbers[middle]) }
}

/// A row of counts from the last run.
fn texts(what: &str, samples: &[Sample], text: impl Fn(&Sample) -> Option<String>) {
    let last = TOOLS.map(|tool| samples.iter().rfind(|sample| sample.tool == tool).and_then(&text));
    if last.iter().any(Option::is_some) {
        println!("| {what} | {} | | |", last.map(Option::unwrap_or_default).join(" | "));
    }
}
