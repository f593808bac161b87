/* Pictures, drawn with cairo: lines over an axis, and a map of shades. */
#include "lab/lab.h"

#include <cairo-svg.h>
#include <cairo.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { WIDTH = 900, HEIGHT = 560, LEFT = 84, RIGHT = 190, TOP = 64, BOTTOM = 72, PNG_SCALE = 2, TICKS = 6 };

typedef struct Colour {
    double r, g, b;
} Colour;

/* told apart by people who see colours differently too (Okabe and Ito) */
static const Colour colours[LAB_SERIES_MAX] = {{0.00, 0.45, 0.70}, {0.90, 0.62, 0.00}, {0.84, 0.37, 0.00}, {0.00, 0.62, 0.45},
                                               {0.80, 0.47, 0.65}, {0.34, 0.71, 0.91}, {0.10, 0.10, 0.10}, {0.60, 0.60, 0.00}};

typedef struct Canvas {
    cairo_surface_t *surface;
    cairo_t *cr;
    Buf bytes;
    bool png;
} Canvas;

static cairo_status_t gather(void *to, const unsigned char *bytes, unsigned n) {
    buf_put(to, bytes, n);
    return ((Buf *)to)->failed ? CAIRO_STATUS_NO_MEMORY : CAIRO_STATUS_SUCCESS;
}

static bool ends_in(const char *path, const char *suffix) { return str_ends(str_c(path), suffix); }

static ErrCode canvas_open(Canvas *c, const char *path, Err *err) {
    memset(c, 0, sizeof *c);
    c->png = ends_in(path, ".png");
    if (!c->png && !ends_in(path, ".svg") && strcmp(path, "-") != 0)
        return err_set(err, ERR_USAGE, "%s: pictures are written as .svg or .png; name the file so", path);
    c->surface = c->png ? cairo_image_surface_create(CAIRO_FORMAT_RGB24, WIDTH * PNG_SCALE, HEIGHT * PNG_SCALE)
                        : cairo_svg_surface_create_for_stream(gather, &c->bytes, WIDTH, HEIGHT);
    c->cr = cairo_create(c->surface);
    if (c->png) cairo_scale(c->cr, PNG_SCALE, PNG_SCALE);
    cairo_set_source_rgb(c->cr, 1, 1, 1);
    cairo_paint(c->cr);
    cairo_select_font_face(c->cr, "sans-serif", CAIRO_FONT_SLANT_NORMAL, CAIRO_FONT_WEIGHT_NORMAL);
    return ERR_OK;
}

static ErrCode canvas_close(Canvas *c, const char *path, Err *err) {
    cairo_status_t status = cairo_status(c->cr);
    cairo_destroy(c->cr);
    if (!status && c->png) status = cairo_surface_write_to_png_stream(c->surface, gather, &c->bytes);
    cairo_surface_finish(c->surface);
    if (!status) status = cairo_surface_status(c->surface);
    cairo_surface_destroy(c->surface);
    ErrCode code = ERR_OK;
    if (status || c->bytes.failed) code = err_set(err, ERR_MEMORY, "%s: drawing failed: %s", path, cairo_status_to_string(status));
    else code = os_write_file(path, c->bytes.ptr, c->bytes.len, err);
    buf_free(&c->bytes);
    return code;
}

/* ---- text and axes ------------------------------------------------------------------------------------------------- */

/* along: 0 begins at x, 0.5 is centred there, 1 ends there */
static void text(cairo_t *cr, double x, double y, double size, double along, const char *s) {
    cairo_text_extents_t e;
    cairo_set_font_size(cr, size);
    cairo_text_extents(cr, s, &e);
    cairo_move_to(cr, x - along * e.x_advance, y);
    cairo_show_text(cr, s);
    cairo_new_path(cr); /* the end of a text is no beginning of a line */
}

static void frame(cairo_t *cr, const char *title, const char *x_label, const char *y_label) {
    cairo_set_source_rgb(cr, 0.1, 0.1, 0.1);
    text(cr, LEFT, TOP - 26, 18, 0, title);
    text(cr, (LEFT + WIDTH - RIGHT) / 2.0, HEIGHT - 18, 14, 0.5, x_label);
    cairo_save(cr);
    cairo_translate(cr, 24, (TOP + HEIGHT - BOTTOM) / 2.0);
    cairo_rotate(cr, -3.14159265358979 / 2);
    text(cr, 0, 0, 14, 0.5, y_label);
    cairo_restore(cr);
    cairo_set_line_width(cr, 1);
    cairo_rectangle(cr, LEFT, TOP, WIDTH - RIGHT - LEFT, HEIGHT - BOTTOM - TOP);
    cairo_stroke(cr);
}

/* 1, 2 or 5 times a power of ten, so that about n steps make the range. */
static double round_step(double range, int n) {
    double step = pow(10, floor(log10(range / n)));
    if (range / step > 5 * n) return 10 * step;
    if (range / step > 2 * n) return 5 * step;
    return range / step > n ? 2 * step : step;
}

typedef struct Axis {
    double from, to; /* in the data */
    double at, end;  /* in the picture */
    bool doubles;
} Axis;

static double place(const Axis *a, double value) {
    double share = a->doubles ? log(value / a->from) / log(a->to / a->from) : (value - a->from) / (a->to - a->from);
    return a->at + share * (a->end - a->at);
}

static void tick(cairo_t *cr, const Axis *a, bool vertical, double value, const char *label) {
    double p = floor(place(a, value)) + 0.5;
    cairo_set_source_rgb(cr, 0.88, 0.88, 0.88);
    if (vertical) cairo_move_to(cr, LEFT, p), cairo_line_to(cr, WIDTH - RIGHT, p);
    else cairo_move_to(cr, p, TOP), cairo_line_to(cr, p, HEIGHT - BOTTOM);
    cairo_stroke(cr);
    cairo_set_source_rgb(cr, 0.1, 0.1, 0.1);
    if (vertical) text(cr, LEFT - 8, p + 4, 12, 1, label);
    else text(cr, p, HEIGHT - BOTTOM + 18, 12, 0.5, label);
}

static void ticks(cairo_t *cr, const Axis *a, bool vertical, bool percent) {
    char label[32];
    cairo_set_line_width(cr, 1);
    if (a->doubles) {
        for (int power = 0; a->from * (1 << power) <= a->to * 1.0001 && power < 30; power++) {
            double v = a->from * (1 << power);
            snprintf(label, sizeof label, "%g", v);
            tick(cr, a, vertical, v, label);
        }
        return;
    }
    double step = round_step(a->to - a->from, TICKS);
    for (int i = (int)floor(a->from / step); i * step <= a->to + step * 1e-6; i++) {
        if (i * step < a->from - step * 1e-6) continue;
        snprintf(label, sizeof label, percent ? "%.0f %%" : "%g", (percent ? 100 : 1) * i * step);
        tick(cr, a, vertical, i * step, label);
    }
}

/* ---- lines --------------------------------------------------------------------------------------------------------- */

static void find_ranges(const LabChart *chart, Axis *x, Axis *y) {
    *x = (Axis){.from = INFINITY, .to = -INFINITY, .at = LEFT, .end = WIDTH - RIGHT, .doubles = chart->x_doubles};
    *y = (Axis){.from = 0, .to = chart->percent ? 1 : 0, .at = HEIGHT - BOTTOM, .end = TOP};
    for (int s = 0; s < chart->n_series; s++)
        for (int i = 0; i < chart->series[s].n; i++) {
            x->from = fmin(x->from, chart->series[s].x[i]);
            x->to = fmax(x->to, chart->series[s].x[i]);
            if (!chart->percent) y->to = fmax(y->to, chart->series[s].y[i] * 1.05);
        }
    if (!(x->to > x->from)) x->from -= 1, x->to = x->from + 2;
    if (!chart->x_doubles && x->from < 0.2 * x->to) x->from = 0;
    if (!(y->to > 0)) y->to = 1;
}

static void draw_series(cairo_t *cr, const LabSeries *s, int index, const Axis *x, const Axis *y) {
    const Colour *c = &colours[index % LAB_SERIES_MAX];
    static const double dashes[] = {6, 4};
    cairo_set_source_rgb(cr, c->r, c->g, c->b);
    cairo_set_line_width(cr, 2);
    cairo_set_dash(cr, dashes, s->dashed ? 2 : 0, 0);
    for (int i = 0; i < s->n; i++) cairo_line_to(cr, place(x, s->x[i]), place(y, s->y[i]));
    cairo_stroke(cr);
    double line = TOP + 14 + 22 * index;
    cairo_move_to(cr, WIDTH - RIGHT + 16, line);
    cairo_line_to(cr, WIDTH - RIGHT + 44, line);
    cairo_stroke(cr);
    cairo_set_dash(cr, dashes, 0, 0);
    for (int i = 0; i < s->n && !s->dashed; i++) {
        cairo_arc(cr, place(x, s->x[i]), place(y, s->y[i]), 3, 0, 6.2831853);
        cairo_fill(cr);
    }
    cairo_set_source_rgb(cr, 0.1, 0.1, 0.1);
    text(cr, WIDTH - RIGHT + 52, line + 5, 13, 0, s->name);
}

ErrCode lab_plot_lines(const char *path, const LabChart *chart, Err *err) {
    Canvas c;
    Axis x, y;
    ErrCode code = canvas_open(&c, path, err);
    if (code) return code;
    find_ranges(chart, &x, &y);
    ticks(c.cr, &x, false, false);
    ticks(c.cr, &y, true, chart->percent);
    for (int i = 0; i < chart->n_series; i++) draw_series(c.cr, &chart->series[i], i, &x, &y);
    frame(c.cr, chart->title, chart->x_label, chart->y_label);
    return canvas_close(&c, path, err);
}

/* ---- a map of shades ----------------------------------------------------------------------------------------------- */

/* From nearly white over orange to a dark violet: darker is more, also without colour. */
static Colour shade(double share) {
    static const Colour stops[] = {{0.99, 0.98, 0.95}, {0.99, 0.75, 0.45}, {0.85, 0.30, 0.30}, {0.45, 0.08, 0.40}, {0.10, 0.02, 0.15}};
    double at = share < 0 ? 0 : share > 1 ? 4 : share * 4;
    int i = at >= 4 ? 3 : (int)at;
    double t = at - i;
    return (Colour){stops[i].r + t * (stops[i + 1].r - stops[i].r), stops[i].g + t * (stops[i + 1].g - stops[i].g),
                    stops[i].b + t * (stops[i + 1].b - stops[i].b)};
}

static void cell(cairo_t *cr, double x, double y, double w, double h, double share) {
    Colour c = shade(share);
    cairo_set_source_rgb(cr, c.r, c.g, c.b);
    cairo_rectangle(cr, x, y, w, h);
    cairo_fill(cr);
}

static void scale_bar(cairo_t *cr, const LabHeat *heat, double most) {
    double x = WIDTH - RIGHT + 28, height = 240;
    char label[32];
    for (int i = 0; i < 120; i++) cell(cr, x, TOP + height - (i + 1) * height / 120, 18, height / 120 + 0.3, i / 119.0);
    cairo_set_source_rgb(cr, 0.1, 0.1, 0.1);
    for (int i = 0; i <= 4; i++) {
        snprintf(label, sizeof label, "%.3g", most * i / 4);
        text(cr, x + 26, TOP + height - i * height / 4 + 4, 12, 0, label);
    }
    text(cr, x, TOP + height + 26, 12, 0, heat->scale_label);
}

ErrCode lab_plot_heat(const char *path, const LabHeat *heat, Err *err) {
    Canvas c;
    ErrCode code = canvas_open(&c, path, err);
    if (code) return code;
    double most = 0, w = (double)(WIDTH - RIGHT - LEFT) / heat->columns, h = (double)(HEIGHT - BOTTOM - TOP) / heat->rows;
    for (size_t i = 0; i < (size_t)heat->rows * heat->columns; i++) most = fmax(most, heat->values[i]);
    if (!(most > 0)) most = 1;
    /* cells overlap a little, so that no seams show between them */
    for (uint32_t r = 0; r < heat->rows; r++)
        for (uint32_t k = 0; k < heat->columns; k++)
            cell(c.cr, LEFT + k * w, TOP + r * h, w + (k + 1 < heat->columns ? 0.4 : 0), h + (r + 1 < heat->rows ? 0.4 : 0),
                 heat->values[(size_t)r * heat->columns + k] / most);
    cairo_set_source_rgb(c.cr, 0.1, 0.1, 0.1);
    char label[32];
    uint32_t rows = heat->rows > 24 ? (uint32_t)round_step(heat->rows, 12) : 1;
    uint32_t columns = heat->columns > 16 ? (uint32_t)round_step(heat->columns, 8) : 1;
    for (uint32_t r = 0; r < heat->rows; r += rows) {
        snprintf(label, sizeof label, "%u", r);
        text(c.cr, LEFT - 8, TOP + (r + 0.5) * h + 4, 12, 1, label);
    }
    for (uint32_t k = 0; k < heat->columns; k += columns) {
        snprintf(label, sizeof label, "%u", k);
        text(c.cr, LEFT + (k + 0.5) * w, HEIGHT - BOTTOM + 18, 12, 0.5, label);
    }
    scale_bar(c.cr, heat, most);
    frame(c.cr, heat->title, heat->x_label, heat->y_label);
    return canvas_close(&c, path, err);
}
