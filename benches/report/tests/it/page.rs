//! Page and plots: whole, readable offline, every figure named.

use embed_report::chart::Chart;
use embed_report::kept::Kept;
use embed_report::{catalogue, page, png, readme, terminal};
use roxmltree::Document;

use crate::sample;

#[test]
fn the_page_names_every_figure_and_loads_nothing() {
    let report = sample();
    let html = page::page(&report);
    for suite in &report.suites {
        for figure in &suite.figures {
            assert!(html.contains(&figure.name), "{} is missing", figure.name);
            let shown = suite.unit.show(figure.value.median);
            assert!(html.contains(&shown), "{shown} of {} is missing", figure.name);
        }
    }
    for (_, _, promise) in report.promises() {
        assert!(html.contains(&promise.text) && html.contains(&promise.measured), "{promise:?}");
    }
    assert!(html.contains("OpenVINO int8") && html.contains("no wheel"), "what was skipped is named");
    assert!(html.contains("A &lt;fast&gt; processor"), "what comes from outside is escaped");
    let bare = html.replace("http://www.w3.org/2000/svg", "");
    for word in ["http://", "https://", "//cdn", "<script", "<link", "@import"] {
        assert!(!bare.contains(word), "the page holds `{word}`");
    }
    assert_eq!(
        bare.matches("url(").count(),
        bare.matches("url(data:").count() + bare.matches("url(#").count()
    );
}

#[test]
fn links_of_the_page_lead_somewhere_and_no_name_is_given_twice() {
    let html = page::page(&sample());
    let after = |mark: &str| -> Vec<String> {
        html.split(mark).skip(1).map(|rest| rest.split('"').next().unwrap_or_default().to_owned()).collect()
    };
    let mut names = after(" id=\"");
    names.sort();
    let count = names.len();
    names.dedup();
    assert_eq!(names.len(), count, "a name is given twice");
    for link in after("href=\"#") {
        assert!(names.contains(&link), "{link} leads nowhere");
    }
}

#[test]
fn plots_are_whole_svg_with_a_bar_for_each_figure() {
    let report = sample();
    for suite in &report.suites {
        let chart = Chart::of_suite(suite, suite.title());
        let svg = chart.file();
        let document = Document::parse(&svg).unwrap();
        let bars = document.descendants().filter(|node| node.has_tag_name("g")).count();
        assert_eq!(bars, suite.figures.len());
        // Inside the frame, all of them.
        let number = |text: Option<&str>| text.unwrap_or("0").parse::<f64>().unwrap();
        let width = number(document.root_element().attribute("width"));
        for bar in document.descendants().filter(|node| node.has_tag_name("rect")) {
            assert!(number(bar.attribute("x")) + number(bar.attribute("width")) <= width, "{}", suite.id);
        }
    }
    let families = catalogue::AREAS.iter().filter_map(|area| area.family.as_ref());
    let drawn: Vec<String> =
        families.filter_map(|family| Chart::of_family(&report, family)).map(|chart| chart.file()).collect();
    assert_eq!(drawn.len(), 2, "detection and gateway");
    drawn.iter().for_each(|svg| assert!(Document::parse(svg).is_ok()));
}

#[test]
fn a_picture_has_letters_and_bars_on_it() {
    let report = sample();
    let (suite, lead) = page::headline(&report).unwrap();
    let lead = lead.unwrap();
    assert_eq!(
        lead,
        "embed-e5 int8: 17.1k tokens/s, ×17.0 fastembed default, ×0.98 OpenVINO int8 (the best rival), ×0.43 int8 GEMM \
         (the limit)."
    );
    let png = png::paint(&Chart::of_suite(suite, page::headline_title(suite))).unwrap();
    assert_eq!(&png[1..4], b"PNG");
    assert!(png.len() > 20_000, "{} bytes hold no letters", png.len());
}

#[test]
fn the_readme_gets_a_table_for_each_kind_of_processor_between_its_markers() {
    let folder = tempfile::tempdir().unwrap();
    let mut report = sample();
    report.machine.kind = "AMD Zen 3".into();
    report.facts.insert("kernels".into(), "avx2, the fastest of this processor".into());
    Kept::of(&report).unwrap().write(folder.path()).unwrap();
    report.machine.kind = "AMD Zen 5".into();
    report.run.date = "2027-01-02T03:04:05Z".into();
    let kept = Kept::of(&report).unwrap();
    assert_eq!(kept.file_name(), "amd-zen-5-avx2.json");
    kept.write(folder.path()).unwrap();
    let all = Kept::all(folder.path()).unwrap();
    assert_eq!(all[0], kept, "the newest first, and as it was written");

    let old = format!("before\n{}\nold\n{}\nafter\n", readme::BEGIN, readme::END);
    let picture = ("a plot", "docs/img/bench.svg");
    let new = readme::renew(&old, &all, picture).unwrap();
    assert!(
        new.starts_with(
            "before\n<!-- bench:begin -->\n![a plot](docs/img/bench.svg)\n\n### AMD Zen 5, kernels avx2\n"
        ) && new.ends_with("<!-- bench:end -->\nafter\n")
    );
    assert!(new.contains("\n### AMD Zen 3, kernels avx2\n") && !new.contains("old"), "{new}");
    assert!(new.contains("| **embed-e5 int8** | 17.1k | 17.0 | 1.60 ms | 0.9951 |"), "{new}");
    assert!(new.contains("on 2 cores of an A <fast> processor (2027-01-02, commit 0123456789)"), "{new}");
    // Made anew it is the same.
    assert_eq!(readme::renew(&new, &all, picture).unwrap(), new);
    assert!(readme::renew("no markers", &all, picture).unwrap_err().to_string().contains("bench:begin"));
}

#[test]
fn a_quick_run_replaces_no_full_one() {
    let folder = tempfile::tempdir().unwrap();
    let mut report = sample();
    Kept::of(&report).unwrap().write(folder.path()).unwrap();
    report.run.quick = true;
    let error = Kept::of(&report).unwrap().write(folder.path()).unwrap_err().to_string();
    assert!(error.contains("without --quick"), "{error}");
}

#[test]
fn the_terminal_gets_one_row_for_each_suite_and_what_was_missed() {
    let text = terminal::summary(&sample());
    for word in
        ["e5/paragraphs", "×17.0", "2 of 3 promises kept", "missed: e5/paragraphs", "not measured: OpenVINO"]
    {
        assert!(text.contains(word), "{word} is not in\n{text}");
    }
}
