//! A recording as an SVG that any browser plays, without a script.
//!
//! Each content of a row is one element. It is visible from the moment when it was drawn to the
//! moment when something else took its place. Where animations are off, the last screen is shown.

use std::time::Duration;

use super::screen::{Cell, Style};

/// Width and height of a character, in pixels.
const CHARACTER: (f64, usize) = (8.4, 19);
const PADDING: usize = 16;
const TITLE: usize = 34;
/// How long the last screen stays before the recording begins again.
const END: f64 = 5.0;
/// Characters that change faster than this are not shown one by one.
const SHORTEST: f64 = 0.06;

/// SGR colours 0 to 15 on a dark background.
const COLOURS: [&str; 16] = [
    "#64748b", "#f87171", "#4ade80", "#facc15", "#60a5fa", "#c084fc", "#22d3ee", "#e2e8f0",
    "#94a3b8", "#fca5a5", "#86efac", "#fde047", "#93c5fd", "#d8b4fe", "#67e8f9", "#f8fafc",
];

/// What a row shows, and from when to when; the last one has no end.
struct Span {
    row: usize,
    from: f64,
    until: Option<f64>,
    cells: Vec<Cell>,
}

/// Draws the frames: the screens of a terminal and when they were shown.
pub(super) fn animation(
    title: &str,
    columns: usize,
    frames: &[(Duration, Vec<Vec<Cell>>)],
    at_most: Duration,
) -> String {
    let lasted = frames.last().map_or(0.0, |(at, _)| at.as_secs_f64());
    let faster = (lasted / at_most.as_secs_f64().max(1.0)).max(1.0);
    let spans = spans(frames, faster);
    let rows = spans.iter().map(|span| span.row + 1).max().unwrap_or(1);
    let width = (columns as f64).mul_add(CHARACTER.0, (2 * PADDING) as f64).ceil();
    let height = TITLE + rows * CHARACTER.1 + PADDING;
    let speed =
        if faster > 1.05 { format!(", played {faster:.1} times faster") } else { String::new() };
    let heading = escaped(&format!("{title} ({lasted:.0} s{speed})"));
    let all = lasted / faster + END;

    let mut svg = String::new();
    svg.push_str(&format!("<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{heading}\">\n\
         <title>{heading}</title>\n\
         <rect width=\"100%\" height=\"100%\" rx=\"8\" fill=\"#0f172a\">\
         <animate id=\"play\" attributeName=\"opacity\" values=\"1;1\" dur=\"{all:.2}s\" \
         begin=\"0s;play.end\"/></rect>\n\
         <circle cx=\"18\" cy=\"17\" r=\"5\" fill=\"#f87171\"/>\
         <circle cx=\"35\" cy=\"17\" r=\"5\" fill=\"#facc15\"/>\
         <circle cx=\"52\" cy=\"17\" r=\"5\" fill=\"#4ade80\"/>\n\
         <g font-family=\"ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace\" \
         font-size=\"14\" fill=\"#e2e8f0\" xml:space=\"preserve\">\n\
         <text x=\"72\" y=\"22\" font-size=\"13\" fill=\"#94a3b8\">{heading}</text>\n"));
    for span in &spans {
        draw(&mut svg, span);
    }
    svg.push_str("</g>\n</svg>\n");
    svg
}

/// From screens to what each row shows and for how long.
fn spans(frames: &[(Duration, Vec<Vec<Cell>>)], faster: f64) -> Vec<Span> {
    let mut spans: Vec<Span> = Vec::new();
    let mut current: Vec<Option<usize>> = Vec::new();
    for (at, rows) in frames {
        let at = at.as_secs_f64() / faster;
        current.resize(current.len().max(rows.len()), None);
        for (row, (cells, shown)) in rows.iter().zip(current.iter_mut()).enumerate() {
            if let Some(span) = shown.and_then(|index| spans.get_mut(index)) {
                if span.cells == *cells {
                    continue;
                }
                span.until = Some(at);
            }
            *shown = None;
            if !cells.is_empty() {
                *shown = Some(spans.len());
                spans.push(Span { row, from: at, until: None, cells: cells.clone() });
            }
        }
    }
    spans.retain(|span| span.until.is_none_or(|until| until - span.from >= SHORTEST));
    spans
}

fn draw(svg: &mut String, span: &Span) {
    let y = TITLE + span.row * CHARACTER.1 + 15;
    let first = if span.until.is_some() { " visibility=\"hidden\"" } else { "" };
    svg.push_str(&format!("<text y=\"{y}\"{first}>"));
    let mut rest = span.cells.as_slice();
    let mut column = 0;
    while let Some(style) = rest.first().map(|cell| cell.style) {
        let same = rest.iter().take_while(|cell| cell.style == style).count();
        let (run, tail) = rest.split_at(same);
        let text: String = run.iter().map(|cell| cell.character).collect();
        if !text.trim().is_empty() {
            let x = (column as f64).mul_add(CHARACTER.0, PADDING as f64);
            let length = same as f64 * CHARACTER.0;
            svg.push_str(&format!(
                "<tspan x=\"{x:.1}\" textLength=\"{length:.1}\"{}>{}</tspan>",
                look(style),
                escaped(&text)
            ));
        }
        column += same;
        rest = tail;
    }
    let from = span.from;
    match span.until {
        Some(until) => svg.push_str(&format!(
            "<set attributeName=\"visibility\" to=\"visible\" begin=\"play.begin+{from:.2}s\" \
             dur=\"{:.2}s\"/>",
            until - from
        )),
        None if from >= 0.01 => svg.push_str(&format!(
            "<set attributeName=\"visibility\" to=\"hidden\" begin=\"play.begin\" dur=\"{from:.2}s\"/>"
        )),
        None => {}
    }
    svg.push_str("</text>\n");
}

fn look(style: Style) -> String {
    let mut look = String::new();
    if let Some(colour) = style.colour.and_then(|colour| COLOURS.get(usize::from(colour))) {
        look.push_str(&format!(" fill=\"{colour}\""));
    }
    if style.bold {
        look.push_str(" font-weight=\"bold\"");
    }
    if style.dim {
        look.push_str(" opacity=\"0.6\"");
    }
    look
}

/// Text in XML.
pub(crate) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::screen::Screen;

    #[test]
    fn a_row_is_shown_until_another_takes_its_place_and_the_last_screen_stays() {
        let mut screen = Screen::new(20, 2);
        screen.feed("waits".as_bytes());
        let mut frames = vec![(Duration::from_secs(1), screen.rows())];
        screen.feed("\r\u{1b}[2Kdone & <over>".as_bytes());
        frames.push((Duration::from_secs(3), screen.rows()));
        let svg = animation("capn up", 20, &frames, Duration::from_secs(20));
        assert!(svg.contains("begin=\"play.begin+1.00s\" dur=\"2.00s\""), "{svg}");
        assert!(svg.contains("done &amp; &lt;over&gt;"), "{svg}");
        assert!(svg.contains("to=\"hidden\" begin=\"play.begin\" dur=\"3.00s\""), "{svg}");
        assert!(svg.contains("<title>capn up (3 s)</title>"), "{svg}");
    }

    #[test]
    fn a_long_run_is_played_faster_and_says_so() {
        let mut screen = Screen::new(20, 1);
        screen.feed(b"x");
        let frames = [(Duration::from_secs(40), screen.rows())];
        let svg = animation("capn up", 20, &frames, Duration::from_secs(20));
        assert!(svg.contains("(40 s, played 2.0 times faster)"), "{svg}");
    }
}
