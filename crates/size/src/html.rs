//! The tree as one self-contained page with a treemap. A browser opens it from a file; it loads nothing.
//!
//! ```text
//! html/page.html   the frame, with places for what follows
//! html/page.css    both colour schemes
//! html/page.js     squarified treemap (Bruls, Huizing, van Wijk 2000): rectangles are links, so keyboard and readers work
//! size.json        the data, in a <script type="application/json">
//! ```

use crate::{Report, verdict};

const PAGE: &str = include_str!("html/page.html");
const STYLE: &str = include_str!("html/page.css");
const SCRIPT: &str = include_str!("html/page.js");

/// The page of a report.
///
/// # Errors
/// When the report cannot be serialized.
pub fn page(report: &Report) -> serde_json::Result<String> {
    let data = serde_json::to_string(report)?;
    // the data are text of a script element; only `</` and `<!` could end it (HTML, §4.12.1.3)
    let data = data.replace('<', "\\u003c");
    let parts: [(&str, &str); 5] = [
        ("{{style}}", STYLE),
        ("{{version}}", &escape(&report.version)),
        ("{{verdict}}", &escape(&verdict(&report.fits))),
        ("{{script}}", SCRIPT),
        ("{{data}}", &data),
    ];
    Ok(parts.iter().fold(PAGE.to_owned(), |page, (place, text)| page.replace(place, text)))
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::{Kind, Node, tree::tests::sample};
    use types::Bytes;

    #[test]
    fn the_page_loads_nothing_and_holds_all_data() {
        let evil = Node::leaf(Kind::File, "</script><script>alert(1)</script>", Bytes(1), Bytes(1));
        let tree = Node::sum(Kind::Image, "image", vec![sample(), evil]);
        let report = Report::new("1<2".into(), [], (vec![], vec![]), tree);
        let page = page(&report).unwrap();
        assert!(page.contains("<title>1&lt;2 ") && !page.contains("{{"), "every place is filled");
        for loads in ["src=", "<link", "@import", "url(", "fetch(", "http:", "https:"] {
            assert!(!page.contains(loads), "{loads}");
        }
        assert_eq!(page.matches("</script>").count(), 2, "data cannot end their element");
        let (_, data) = page.split_once("type=\"application/json\">").unwrap();
        let back: Report = serde_json::from_str(data.split_once("</script>").unwrap().0).unwrap();
        assert_eq!(back, report);
    }
}
