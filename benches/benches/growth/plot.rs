//! Drawing: curves over sizes, both axes logarithmic.
//!
//! Reading: a straight line of slope one grows in proportion, a level one does not grow; bars are 95 % intervals.

use std::ops::Range;

use plotters::{
    chart::{ChartContext, SeriesLabelPosition},
    coord::combinators::{LogCoord, WithKeyPoints},
    prelude::*,
    style::text_anchor::{HPos, Pos, VPos},
};

use crate::report::{Curve, Plot, Point};

const SIZE: (u32, u32) = (960, 600);
const FONT: &str = "sans-serif";
const TITLE: u32 = 24;
const TEXT: u32 = 20;
const POINT: u32 = 5;
/// Of values beside points: their height, and how wide a letter is.
const LABEL: i32 = 18;
const LETTER: i32 = 9;
/// Left and below are numbers and the title of an axis.
const LEFT: u32 = 96;
const BELOW: u32 = 72;
const COLORS: [RGBColor; 2] = [RGBColor(0x2a, 0x6f, 0x97), RGBColor(0xc9, 0x77, 0x2e)];
const GRID: RGBColor = RGBColor(0xdd, 0xdd, 0xdd);

type Failed = Box<dyn std::error::Error>;
type Axis = WithKeyPoints<LogCoord<f64>>;
type Chart<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<Axis, Axis>>;

/// The picture.
pub(crate) fn drawn(plot: &Plot) -> Result<String, Failed> {
    let mut text = String::new();
    let area = SVGBackend::with_string(&mut text, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let points = || plot.curves.iter().flat_map(|curve| &curve.points);
    let (x, y) = (
        around(points().map(|it| it.at), 1.3),
        at_least_a_decade(around(points().flat_map(|it| [it.low, it.high]), 2.5)),
    );
    let mut sizes: Vec<_> = points().map(|it| it.at).collect();
    sizes.sort_by(f64::total_cmp);
    sizes.dedup();
    let ticks = ticks(&y);
    let mut chart = ChartBuilder::on(&area)
        .margin(16)
        .margin_right(32)
        .caption(plot.title, (FONT, TITLE))
        .x_label_area_size(BELOW)
        .y_label_area_size(LEFT)
        .build_cartesian_2d(
            x.log_scale().with_key_points(sizes),
            y.log_scale().with_key_points(ticks),
        )?;
    axes(&mut chart, plot)?;
    for (which, (curve, color)) in plot.curves.iter().zip(COLORS).enumerate() {
        draw(&mut chart, curve, color, which == 0)?;
    }
    legend(&mut chart)?;
    area.present()?;
    drop(chart);
    drop(area);
    Ok(text)
}

/// From the least to the most, and a little more on both sides.
fn around(values: impl Iterator<Item = f64> + Clone, more: f64) -> Range<f64> {
    let least = values.clone().fold(f64::INFINITY, f64::min);
    let most = values.fold(0.0, f64::max);
    // Of nothing there is no logarithm.
    let least = least.max(most / 1e9).max(f64::MIN_POSITIVE);
    least / more..most.max(least) * more
}

/// What hardly changes is not to look as if it did.
fn at_least_a_decade(range: Range<f64>) -> Range<f64> {
    let more = (10.0 * range.start / range.end).sqrt().max(1.0);
    range.start / more..range.end * more
}

/// Where the axis has numbers: 1, 2 and 5 of each power of ten, or the powers if those are many.
fn ticks(range: &Range<f64>) -> Vec<f64> {
    let decades = (range.end / range.start).log10();
    let steps: &[f64] = match decades {
        ..3.0 => &[1.0, 2.0, 5.0],
        _ => &[1.0],
    };
    let mut power = 10_f64.powf(range.start.log10().floor());
    let mut ticks = Vec::new();
    while power <= range.end {
        ticks.extend(steps.iter().map(|step| step * power));
        power *= 10.0;
    }
    ticks.retain(|tick| range.contains(tick));
    ticks
}

fn axes(chart: &mut Chart<'_, '_>, plot: &Plot) -> Result<(), Failed> {
    chart
        .configure_mesh()
        .x_desc(plot.x)
        .y_desc(plot.y)
        .label_style((FONT, TEXT))
        .axis_desc_style((FONT, TEXT))
        .x_label_formatter(&|value| number(*value))
        .y_label_formatter(&|value| number(*value))
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .draw()?;
    Ok(())
}

fn draw(
    chart: &mut Chart<'_, '_>,
    curve: &Curve,
    color: RGBColor,
    is_first: bool,
) -> Result<(), Failed> {
    let points = curve.points.iter().map(|point| (point.at, point.median));
    let line = LineSeries::new(points.clone(), color.stroke_width(2));
    chart
        .draw_series(line)?
        .label(curve.name)
        .legend(move |(x, y)| PathElement::new([(x, y), (x + 24, y)], color.stroke_width(3)));
    let bar = |point: &Point| {
        let ends = [(point.at, point.low), (point.at, point.high)];
        PathElement::new(ends, color.stroke_width(2))
    };
    chart.draw_series(curve.points.iter().map(bar))?;
    chart.draw_series(
        points
            .clone()
            .map(|at| Circle::new(at, POINT, color.filled())),
    )?;
    for point in &curve.points {
        label(chart, point, color, is_first)?;
    }
    Ok(())
}

/// Writes its value beside a point, where no bar is: above it, or below on the second curve. What is behind it shows through
/// a little.
fn label(
    chart: &mut Chart<'_, '_>,
    point: &Point,
    color: RGBColor,
    is_above: bool,
) -> Result<(), Failed> {
    let text = number(point.median);
    let half = i32::try_from(text.len()).expect("a few digits") * LETTER / 2;
    let (at, up) = if is_above {
        (point.high, -LABEL - 8)
    } else {
        (point.low, 8)
    };
    let style = (FONT, LABEL).into_font().color(&color);
    let style = style.pos(Pos::new(HPos::Center, VPos::Top));
    let behind = Rectangle::new([(-half, up), (half, up + LABEL)], WHITE.mix(0.7).filled());
    let written = EmptyElement::at((point.at, at)) + behind + Text::new(text, (0, up), style);
    chart.draw_series([written])?;
    Ok(())
}

fn legend<'a, 'b: 'a>(chart: &mut Chart<'a, 'b>) -> Result<(), Failed> {
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .label_font((FONT, TEXT))
        .background_style(WHITE.mix(0.9))
        .border_style(GRID)
        .draw()?;
    Ok(())
}

/// Three digits of it, with commas between thousands.
fn number(value: f64) -> String {
    if value < 100.0 {
        let digits = if value < 0.1 {
            3
        } else if value < 10.0 {
            2
        } else {
            1
        };
        let text = format!("{value:.digits$}");
        return text.trim_end_matches('0').trim_end_matches('.').to_owned();
    }
    let text = format!("{value:.0}");
    let mut shown = String::new();
    for (index, digit) in text.chars().enumerate() {
        if index > 0 && (text.len() - index).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}
