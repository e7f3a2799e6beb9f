//! The plot of `bench/RESULTS.md`.

use plotters::prelude::*;

use crate::figures::Figures;
use crate::subject::Subject;

const SIZE: (u32, u32) = (960, 600);

/// Answers a second by callers, both in powers.
pub(crate) fn throughput(figures: &Figures) -> Result<String, String> {
    let mut svg = String::new();
    draw(&mut svg, figures).map_err(|error| format!("the plot cannot be drawn: {error}"))?;
    Ok(svg)
}

fn draw(svg: &mut String, figures: &Figures) -> Result<(), Box<dyn std::error::Error>> {
    let lines: Vec<(Subject, Vec<(usize, f64)>)> =
        Subject::ALL.into_iter().filter_map(|subject| Some((subject, figures.of(subject)?))).collect();
    let points = || lines.iter().flat_map(|(_, line)| line.iter().copied());
    let callers = points().map(|(callers, _)| callers as f64).fold(1.0, f64::max);
    let (least, greatest) =
        points().fold((f64::MAX, 1.0), |(least, greatest), (_, rate)| (rate.min(least), rate.max(greatest)));
    let root = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .caption("Answers a second by callers", ("sans-serif", 22))
        .margin(16)
        .x_label_area_size(44)
        .y_label_area_size(84)
        .build_cartesian_2d((0.9..callers * 1.2).log_scale().base(2.0), (least / 2.0..greatest * 2.0).log_scale())?;
    chart
        .configure_mesh()
        .x_desc("callers, each awaiting its answer")
        .y_desc("answers a second")
        .x_label_formatter(&|callers| format!("{callers:.0}"))
        .y_label_formatter(&|rate| format!("{rate:.0}"))
        .light_line_style(WHITE)
        .draw()?;
    for (nth, (subject, line)) in lines.iter().enumerate() {
        let colour = Palette99::pick(nth).to_rgba();
        let points: Vec<(f64, f64)> = line.iter().map(|(callers, rate)| (*callers as f64, *rate)).collect();
        chart
            .draw_series(LineSeries::new(points.clone(), colour.stroke_width(2)))?
            .label(subject.title())
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], colour.stroke_width(2)));
        chart.draw_series(points.into_iter().map(|point| Circle::new(point, 3, colour.filled())))?;
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.85))
        .border_style(BLACK.mix(0.3))
        .draw()?;
    root.present()?;
    Ok(())
}
