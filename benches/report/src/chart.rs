//! Plots: horizontal bars as SVG, one row for each contender.
//!
//! Ours, rivals and limits differ in fill, outline and weight of the letters, not by colour alone. The bars begin at
//! zero, always.

use maud::{Markup, html};

use crate::catalogue::Family;
use crate::figure::{Better, Role};
use crate::font;
use crate::number::times;
use crate::report::{Measured, Report, Suite};
use crate::stats::Spread;

/// How wide every plot is; its height follows from the bars.
const WIDTH: f64 = 880.0;
const MARGIN: f64 = 16.0;
/// The most that names may take.
const NAMES: f64 = 300.0;
const GAP: f64 = 10.0;
const LETTERS: f64 = 13.0;

/// A plot.
#[derive(Debug, Clone)]
pub struct Chart {
    title: String,
    hint: String,
    bars: Vec<Bar>,
    /// Where the baseline is, if all bars are shares of one.
    one: bool,
}

#[derive(Debug, Clone)]
struct Bar {
    name: String,
    role: Role,
    value: Spread,
    shown: String,
    ratio: String,
}

/// The colours of a plot.
#[derive(Debug, Clone, Copy)]
pub struct Palette {
    page: &'static str,
    text: &'static str,
    faint: &'static str,
    line: &'static str,
    ours: &'static str,
    rival: &'static str,
    rival_edge: &'static str,
    limit: &'static str,
}

/// On white.
pub const LIGHT: Palette = Palette {
    page: "#ffffff",
    text: "#171c26",
    faint: "#586272",
    line: "#d7dce3",
    ours: "#0a5fd1",
    rival: "#dde3ea",
    rival_edge: "#76828f",
    limit: "#a84e06",
};

/// On black.
pub const DARK: Palette = Palette {
    page: "#11151b",
    text: "#e8ecf1",
    faint: "#9ca7b4",
    line: "#323b46",
    ours: "#5ba3ff",
    rival: "#2a323c",
    rival_edge: "#8b97a5",
    limit: "#f2a350",
};

impl Palette {
    /// The rules for all plots.
    #[must_use]
    pub fn css(&self) -> String {
        let Self { page, text, faint, line, ours, rival, rival_edge, limit } = self;
        format!(
            ".plot{{font-family:Inter,'Segoe UI',Roboto,Helvetica,Arial,sans-serif}}.plot text{{fill:{text}}}\
             .plot .value{{stroke:{page};stroke-width:3px;paint-order:stroke}}.plot .page{{fill:{page}}}.plot .faint{{fill:{faint}}}.plot .axis{{stroke:{line};fill:none}}\
             .plot .one{{stroke:{faint};fill:none}}.plot .ours{{fill:{ours};stroke:{ours}}}\
             .plot .rival{{fill:{rival};stroke:{rival_edge}}}.plot .limit{{stroke:{limit}}}\
             .plot .hatch{{stroke:{limit};fill:none}}.plot .spread{{stroke:{text};fill:none}}"
        )
    }
}

impl Chart {
    /// The contenders of one suite. The title may be empty, where one stands above.
    #[must_use]
    pub fn of_suite(suite: &Suite, title: String) -> Self {
        let bars =
            suite.figures.iter().map(|figure| Bar::new(suite, figure, figure.value, figure.name.clone()));
        let way = match suite.better {
            Better::Higher => "longer is better",
            Better::Lower => "shorter is better",
        };
        let times = match suite.baseline() {
            Some(baseline) => format!("; ×N is how many times better than {}", baseline.name),
            None => String::new(),
        };
        Self { title, hint: format!("{}, {way}{times}", suite.unit.axis()), bars: bars.collect(), one: false }
    }

    /// Many suites that are measured alike, each as a share of its own baseline. `None` if none of them is there.
    #[must_use]
    pub fn of_family(report: &Report, family: &Family) -> Option<Self> {
        let suites: Vec<&Suite> =
            report.suites.iter().filter(|suite| suite.id.starts_with(family.prefix)).collect();
        let better = suites.first()?.better;
        let bars: Vec<Bar> = suites.iter().flat_map(|suite| shares(suite, family.prefix)).collect();
        let way = match better {
            Better::Higher => "longer is better",
            Better::Lower => "shorter is better",
        };
        let hint = format!("share of the baseline, {way}; ×N is how many times better than it");
        (!bars.is_empty()).then(|| Self { title: family.title.to_owned(), hint, bars, one: true })
    }

    /// The plot inside a page that has the rules of [`Palette::css`]. The name must be another one for each plot.
    #[must_use]
    pub fn inline(&self, name: &str) -> Markup {
        self.draw(name, None)
    }

    /// The plot as a file of its own, which follows the reader's choice of light or dark.
    #[must_use]
    pub fn file(&self) -> String {
        let css = format!("{}@media (prefers-color-scheme:dark){{{}}}", LIGHT.css(), DARK.css());
        self.draw("plot", Some(&css)).into_string()
    }

    /// The plot for a program that knows no choices: light.
    #[must_use]
    pub fn plain(&self) -> String {
        self.draw("plot", Some(&LIGHT.css())).into_string()
    }

    fn draw(&self, name: &str, css: Option<&str>) -> Markup {
        let dense = self.bars.len() > 14;
        let (thick, step) = if dense { (14.0, 21.0) } else { (22.0, 34.0) };
        let top = if self.title.is_empty() { 38.0 } else { 64.0 };
        let bottom = top + step * self.bars.len() as f64;
        let height = bottom + 34.0;
        let names = self.bars.iter().map(|bar| bar.name_width()).fold(0.0, f64::max).min(NAMES);
        let words = self.bars.iter().map(Bar::words_width).fold(0.0, f64::max);
        let left = MARGIN + names + GAP;
        let room = WIDTH - left - words - MARGIN - GAP;
        // A whisker that reaches far beyond all bars is cut, or it would squeeze them.
        let longest =
            self.bars.iter().map(|bar| bar.value.median).fold(if self.one { 1.0 } else { 0.0 }, f64::max);
        let reach = self.bars.iter().map(|bar| bar.value.high).fold(longest, f64::max).min(1.25 * longest);
        let x = |value: f64| left + if reach > 0.0 { room * value.min(reach) / reach } else { 0.0 };
        let label = format!("{} {}", self.title, self.hint);
        html! {
            svg xmlns="http://www.w3.org/2000/svg" class="plot" viewBox={ "0 0 " (px(WIDTH)) " " (px(height)) }
                width=(px(WIDTH)) height=(px(height)) role="img" aria-label=(label) {
                @if let Some(css) = css { style { (maud::PreEscaped(css)) } }
                defs {
                    pattern id={ (name) "-hatch" } width="7" height="7" patternUnits="userSpaceOnUse"
                        patternTransform="rotate(45)" {
                        path class="hatch" d="M1 0V7" stroke-width="2" {}
                    }
                }
                rect class="page" width=(px(WIDTH)) height=(px(height)) {}
                @if !self.title.is_empty() {
                    text x=(MARGIN) y="26" font-size="16" font-weight="600" { (self.title) }
                }
                text class="faint" x=(MARGIN) y=(px(top - 18.0)) font-size="12" { (fit(&self.hint, 12.0, WIDTH - 2.0 * MARGIN)) }
                // Below the bars, whose words have an edge of the page's colour.
                @if self.one {
                    path class="one" stroke-dasharray="5 3" stroke-width="1.5"
                        d={ "M" (px(x(1.0))) " " (px(top - 8.0)) "V" (px(bottom)) } {}
                }
                @for (index, bar) in self.bars.iter().enumerate() {
                    @let y = top + step * index as f64;
                    @let base = y + thick / 2.0 + 4.5;
                    @let middle = y + thick / 2.0;
                    g {
                        title { (bar.name) ": " (bar.shown) " " (bar.ratio) }
                        text x=(px(left - GAP)) y=(px(base)) font-size=(LETTERS) text-anchor="end"
                            font-weight=(bar.weight()) { (fit(&bar.name, LETTERS, names)) }
                        (bar.shape(name, left, y, (x(bar.value.median) - left).max(1.5), thick))
                        @if bar.value.high > bar.value.low {
                            path class="spread" stroke-width="1.5"
                                d={ "M" (px(x(bar.value.low))) " " (px(middle)) "H" (px(x(bar.value.high)))
                                    "M" (px(x(bar.value.low))) " " (px(middle - 4.0)) "v8"
                                    "M" (px(x(bar.value.high))) " " (px(middle - 4.0)) "v8" } {}
                        }
                        text class="value" x=(px(x(bar.value.median.max(bar.value.high)) + 8.0)) y=(px(base)) font-size=(LETTERS)
                            font-weight=(bar.weight()) {
                            (bar.shown) " "
                            tspan class=[bar.ratio_class()] font-weight="600" dx="3" { (bar.ratio) }
                        }
                    }
                }
                path class="axis" d={ "M" (px(left)) " " (px(top - 6.0)) "V" (px(bottom)) } {}
                (self.legend(name, bottom + 20.0))
            }
        }
    }

    fn legend(&self, name: &str, y: f64) -> Markup {
        let roles = [(Role::Ours, "this workspace"), (Role::Rival, "rival"), (Role::Limit, "limit")];
        let there = roles.into_iter().filter(|(role, _)| self.bars.iter().any(|bar| bar.role == *role));
        let mut at = MARGIN;
        let mut entries: Vec<(f64, Role, &str)> = Vec::new();
        for (role, word) in there {
            entries.push((at, role, word));
            at += 24.0 + font::width(word, 12.0, false) + 18.0;
        }
        let rounds = self.bars.iter().any(|bar| bar.value.high > bar.value.low);
        html! {
            @for (x, role, word) in entries {
                (shape(role, name, x, y - 9.0, 18.0, 11.0))
                text class="faint" x=(px(x + 24.0)) y=(px(y)) font-size="12" { (word) }
            }
            @if rounds {
                path class="spread" stroke-width="1.5"
                    d={ "M" (px(at)) " " (px(y - 4.0)) "h16m-16 -4v8m16 -8v8" } {}
                text class="faint" x=(px(at + 22.0)) y=(px(y)) font-size="12" { "spread of the rounds" }
            }
        }
    }
}

/// Each contender of a suite but the baseline, as a share of it.
fn shares(suite: &Suite, prefix: &str) -> Vec<Bar> {
    let Some(baseline) = suite.baseline() else { return Vec::new() };
    let short = suite.id.strip_prefix(prefix).unwrap_or(&suite.id);
    let others: Vec<&Measured> = suite.figures.iter().filter(|figure| !figure.baseline).collect();
    let share = |figure: &&Measured| {
        let by = |value: f64| value / baseline.value.median;
        let Spread { median, low, high } = figure.value;
        let value = Spread { median: by(median), low: by(low), high: by(high) };
        let name = if others.len() == 1 { short.to_owned() } else { format!("{short}: {}", figure.name) };
        Bar::new(suite, figure, value, name)
    };
    others.iter().map(share).collect()
}

impl Bar {
    fn new(suite: &Suite, figure: &Measured, value: Spread, name: String) -> Self {
        let ratio = match &figure.ratio {
            Some(ratio) => times(ratio.median),
            None if figure.baseline => "baseline".to_owned(),
            None => String::new(),
        };
        Self { name, role: figure.role, value, shown: suite.unit.show(figure.value.median), ratio }
    }

    fn weight(&self) -> &'static str {
        if self.role == Role::Ours { "600" } else { "400" }
    }

    fn ratio_class(&self) -> Option<&'static str> {
        (self.ratio == "baseline").then_some("faint")
    }

    fn name_width(&self) -> f64 {
        // As wide as if it were bold: so it is cut, too.
        font::width(&self.name, LETTERS, true)
    }

    fn words_width(&self) -> f64 {
        font::width(&self.shown, LETTERS, true) + font::width(&self.ratio, LETTERS, true) + 22.0
    }

    fn shape(&self, name: &str, x: f64, y: f64, width: f64, height: f64) -> Markup {
        shape(self.role, name, x, y, width, height)
    }
}

fn shape(role: Role, name: &str, x: f64, y: f64, width: f64, height: f64) -> Markup {
    let (class, fill, dashes) = match role {
        Role::Ours => ("ours", None, None),
        Role::Rival => ("rival", None, None),
        Role::Limit => ("limit", Some(format!("url(#{name}-hatch)")), Some("4 2")),
    };
    html! {
        rect class=(class) x=(px(x)) y=(px(y)) width=(px(width)) height=(px(height)) rx="2" fill=[fill]
            stroke-dasharray=[dashes] {}
    }
}

/// As much of a text as has room.
fn fit(text: &str, size: f64, room: f64) -> String {
    if font::width(text, size, true) <= room + 1.0 {
        return text.to_owned();
    }
    let mut short = text.to_owned();
    while !short.is_empty() && font::width(&format!("{short}…"), size, true) > room {
        short.pop();
    }
    format!("{}…", short.trim_end())
}

/// A place on the plot; a tenth of a pixel is enough.
fn px(value: f64) -> String {
    let text = format!("{value:.1}");
    text.strip_suffix(".0").map(str::to_owned).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_too_long_is_cut() {
        assert_eq!(fit("short", 13.0, 300.0), "short");
        let cut = fit(&"long name ".repeat(20), 13.0, 300.0);
        assert!(cut.ends_with('…') && font::width(&cut, 13.0, true) <= 300.0, "{cut}");
    }
}
