//! Plots in SVG: horizontal bars with their spread, readable on light and dark pages.

use super::samples::Spread;

/// One bar.
pub(crate) struct Bar {
    /// Who it is.
    pub(crate) label: String,
    /// How long it is.
    pub(crate) spread: Spread,
}

/// Bars that are compared with each other.
pub(crate) struct Group {
    /// What they measure.
    pub(crate) title: String,
    /// The bars.
    pub(crate) bars: Vec<Bar>,
}

const WIDTH: f64 = 760.0;
/// Where bars begin, and how far they go: the room behind is for the number.
const LEFT: f64 = 190.0;
const LENGTH: f64 = 470.0;
const BAR: f64 = 16.0;
const STEP: f64 = 21.0;

/// What the page's own colours cannot give: one for adit, another for all it is compared with.
const STYLE: &str = "text{font:12px system-ui,sans-serif;fill:#1f2328}.title{font-weight:600}\
.ours{fill:#2f6fde}.theirs{fill:#a8b1bb}.spread{stroke:#1f2328;stroke-width:1.2}\
@media(prefers-color-scheme:dark){text{fill:#e6edf3}.ours{fill:#5b93f5}.theirs{fill:#59636e}.spread{stroke:#e6edf3}}";

/// Draws `groups`, all to the same scale; `unit` and `decimals` are of the numbers.
pub(crate) fn svg(title: &str, unit: &str, decimals: usize, groups: &[Group]) -> String {
    let most = groups.iter().flat_map(|group| &group.bars).map(|bar| bar.spread.max);
    let most = most.fold(f64::MIN_POSITIVE, f64::max);
    let scale = |value: f64| value.max(0.0) / most * LENGTH;
    let (mut body, mut y) = (String::new(), 22.0);
    body += &text(8.0, y, "title", &format!("{title}, {unit}"));
    for group in groups {
        y += STEP + 8.0;
        body += &text(8.0, y, "title", &group.title);
        y += 8.0;
        for bar in &group.bars {
            let class = if bar.label == "adit" { "ours" } else { "theirs" };
            let Spread { median, min, max } = bar.spread;
            let (middle, base) = (y + BAR / 2.0, y + BAR - 4.0);
            body += &text(20.0, base, "name", &bar.label);
            body += &format!(
                "<rect class=\"{class}\" x=\"{LEFT}\" y=\"{y}\" width=\"{:.1}\" height=\"{BAR}\"/>\n",
                scale(median)
            );
            let (from, to) = (LEFT + scale(min), LEFT + scale(max));
            body += &format!(
                "<path class=\"spread\" d=\"M{from:.1} {middle}H{to:.1}M{from:.1} {}v8M{to:.1} {}v8\"/>\n",
                middle - 4.0,
                middle - 4.0
            );
            body += &text(
                to.max(LEFT + scale(median)) + 8.0,
                base,
                "value",
                &format!("{median:.decimals$}"),
            );
            y += STEP;
        }
    }
    let height = y + 10.0;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\">\n\
         <title>{}</title>\n<style>{STYLE}</style>\n{body}</svg>\n",
        escaped(title)
    )
}

fn text(x: f64, y: f64, class: &str, words: &str) -> String {
    format!(
        "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\">{}</text>\n",
        escaped(words)
    )
}

fn escaped(words: &str) -> String {
    words.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_bar_fills_the_plot_and_others_are_to_scale() {
        let bar = |label: &str, median, min, max| Bar {
            label: label.to_owned(),
            spread: Spread { median, min, max },
        };
        let groups = [Group {
            title: "up & down".to_owned(),
            bars: vec![bar("adit", 4.0, 3.0, 4.0), bar("<other>", 1.0, 0.5, 2.0)],
        }];
        let drawn = svg("TCP", "Gbit/s", 2, &groups);
        for expected in [
            "class=\"ours\" x=\"190\" y=\"59\" width=\"470.0\"",
            "class=\"theirs\" x=\"190\" y=\"80\" width=\"117.5\"",
            // The whisker of the second goes from an eighth to a half.
            "M248.8 88H425.0",
            "up &amp; down",
            "&lt;other&gt;",
            ">4.00</text>",
        ] {
            assert!(drawn.contains(expected), "{expected} is not in\n{drawn}");
        }
        assert_eq!(drawn.matches("<text").count(), drawn.matches("</text>").count());
    }
}
