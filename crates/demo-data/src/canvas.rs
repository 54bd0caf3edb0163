//! Anti-aliased canvas of simple shapes.
//!
//! A shape is a signed distance, negative inside. A pixel takes the colour in proportion to its
//! part inside. Coordinates are in image widths: x to the right and y down, from 0 to 1. The code
//! uses only `+ - * /` and square roots, which every processor rounds alike, so that a seed gives
//! the same bytes everywhere.

/// Red, green and blue in 0..=255.
pub(crate) type Color = [f32; 3];

/// Point of the image.
pub(crate) type Point = (f32, f32);

/// Square image to paint on.
pub(crate) struct Canvas {
    size: usize,
    pixels: Vec<Color>,
}

/// Shape to paint.
pub(crate) enum Shape<'p> {
    /// Centre and half axes.
    Ellipse(Point, Point),
    /// The corners in order, at least three.
    Polygon(&'p [Point]),
    /// Centre, half sides, radius of the corners.
    Box(Point, Point, f32),
    /// Both ends and the width.
    Line(Point, Point, f32),
}

/// Fill of a shape: one colour, or a vertical gradient.
#[derive(Clone, Copy)]
pub(crate) struct Paint {
    top: Color,
    bottom: Color,
    opacity: f32,
}

impl From<Color> for Paint {
    fn from(color: Color) -> Self {
        Self { top: color, bottom: color, opacity: 1.0 }
    }
}

impl Paint {
    /// Returns a gradient from `top` down to `bottom`.
    pub(crate) fn gradient(top: Color, bottom: Color) -> Self {
        Self { top, bottom, opacity: 1.0 }
    }

    /// Returns the paint with this opacity, from 0 to 1.
    pub(crate) fn sheer(self, opacity: f32) -> Self {
        Self { opacity, ..self }
    }
}

/// Returns `color` moved by `part` of the way towards `other`.
pub(crate) fn mix(color: Color, other: Color, part: f32) -> Color {
    std::array::from_fn(|channel| color[channel] + (other[channel] - color[channel]) * part)
}

/// Returns a darker `color`.
pub(crate) fn darker(color: Color, part: f32) -> Color {
    mix(color, [0.0; 3], part)
}

/// Returns a lighter `color`.
pub(crate) fn lighter(color: Color, part: f32) -> Color {
    mix(color, [255.0; 3], part)
}

impl Canvas {
    pub(crate) fn new(size: u32) -> Self {
        let size = size as usize;
        Self { size, pixels: vec![[255.0; 3]; size * size] }
    }

    /// Paints `shape` over the present contents.
    pub(crate) fn fill(&mut self, shape: &Shape<'_>, paint: impl Into<Paint>) {
        let paint = paint.into();
        let (low, high) = shape.bounds();
        let size = self.size as f32;
        let first = |edge: f32| ((edge * size).floor() - 1.0).clamp(0.0, size) as usize;
        let last = |edge: f32| ((edge * size).ceil() + 1.0).clamp(0.0, size) as usize;
        let tall = (high.1 - low.1).max(f32::MIN_POSITIVE);
        for row in first(low.1)..last(high.1) {
            let y = (row as f32 + 0.5) / size;
            let color = mix(paint.top, paint.bottom, ((y - low.1) / tall).clamp(0.0, 1.0));
            for column in first(low.0)..last(high.0) {
                let x = (column as f32 + 0.5) / size;
                let inside = (0.5 - shape.distance((x, y)) * size).clamp(0.0, 1.0);
                if inside > 0.0 {
                    let pixel = &mut self.pixels[row * self.size + column];
                    *pixel = mix(*pixel, color, inside * paint.opacity);
                }
            }
        }
    }

    /// Returns the image as 8-bit RGB, `[size, size, 3]`.
    pub(crate) fn into_rgb(self) -> Vec<u8> {
        self.pixels
            .into_iter()
            .flatten()
            .map(|value| (value + 0.5).clamp(0.0, 255.0) as u8)
            .collect()
    }
}

fn length((x, y): Point) -> f32 {
    (x * x + y * y).sqrt()
}

impl Shape<'_> {
    /// Returns the corners of the shape's bounding box.
    fn bounds(&self) -> (Point, Point) {
        match *self {
            Self::Ellipse(center, half) | Self::Box(center, half, _) => {
                ((center.0 - half.0, center.1 - half.1), (center.0 + half.0, center.1 + half.1))
            }
            Self::Polygon(corners) => around(corners, 0.0),
            Self::Line(from, to, width) => around(&[from, to], width / 2.0),
        }
    }

    /// Returns the signed distance of `point` from the edge, negative inside.
    fn distance(&self, point: Point) -> f32 {
        match *self {
            Self::Ellipse(center, half) => {
                let (x, y) = (point.0 - center.0, point.1 - center.1);
                // First order in the distance from the edge, which is enough at the scale of one
                // pixel.
                let scaled = length((x / half.0, y / half.1));
                let slope = length((x / (half.0 * half.0), y / (half.1 * half.1)));
                if slope > 0.0 { scaled * (scaled - 1.0) / slope } else { -half.0.min(half.1) }
            }
            Self::Box(center, half, radius) => {
                let x = (point.0 - center.0).abs() - half.0 + radius;
                let y = (point.1 - center.1).abs() - half.1 + radius;
                length((x.max(0.0), y.max(0.0))) + x.max(y).min(0.0) - radius
            }
            Self::Line(from, to, width) => to_segment(point, from, to) - width / 2.0,
            Self::Polygon(corners) => to_polygon(point, corners),
        }
    }
}

fn around(points: &[Point], margin: f32) -> (Point, Point) {
    let start = ((f32::MAX, f32::MAX), (f32::MIN, f32::MIN));
    let (low, high) = points.iter().fold(start, |(low, high), point| {
        ((low.0.min(point.0), low.1.min(point.1)), (high.0.max(point.0), high.1.max(point.1)))
    });
    ((low.0 - margin, low.1 - margin), (high.0 + margin, high.1 + margin))
}

fn to_segment(point: Point, from: Point, to: Point) -> f32 {
    let (dx, dy) = (to.0 - from.0, to.1 - from.1);
    let (x, y) = (point.0 - from.0, point.1 - from.1);
    let squared = (dx * dx + dy * dy).max(f32::MIN_POSITIVE);
    let along = ((x * dx + y * dy) / squared).clamp(0.0, 1.0);
    length((x - dx * along, y - dy * along))
}

fn to_polygon(point: Point, corners: &[Point]) -> f32 {
    let mut nearest = f32::MAX;
    let mut inside = false;
    let edges = corners.iter().zip(corners.iter().cycle().skip(1));
    for (&from, &to) in edges {
        nearest = nearest.min(to_segment(point, from, to));
        // A ray to the right crosses the edge.
        if (from.1 > point.1) != (to.1 > point.1) {
            let crossing = from.0 + (point.1 - from.1) / (to.1 - from.1) * (to.0 - from.0);
            inside ^= point.0 < crossing;
        }
    }
    if inside { -nearest } else { nearest }
}
