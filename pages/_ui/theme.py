"""The look that all pages share beyond the configuration's theme."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

if TYPE_CHECKING:
    from streamlit.delta_generator import DeltaGenerator

# pixels of the window beside a picture, and the facts as high as it: for a strip of crystals below, or none
REST, REST_TALL = 442, 342


def compact() -> None:
    """The app's style: little space above titles, small numbers, dark captions, links that wrap.

    On a phone a run stands above its form.

    A press of a button holds where the button moves from under the pointer before it is let go: leaving a
    field sends what was typed, and the answer makes the form longer.
    """
    st.html(
        "<style>.stMainBlockContainer { padding: 3.9rem 2rem 3rem; }"
        " [data-testid=stHeading] h1 { font-size: 1.5rem !important; padding: 0.4rem 0 !important; }"
        " [data-testid=stHeading] h2 { font-size: 1.2rem !important; padding: 0.2rem 0 !important; }"
        # Streamlit moves what follows up into the padding of a heading, of which little is left here
        " [data-testid=stHeading]:has(h2) [data-testid=stMarkdownContainer] { margin-bottom: -0.3rem; }"
        " [data-testid=stMetricValue] { font-size: 1.15rem; }"
        " @media (max-width: 640px) { .stMainBlockContainer { padding-inline: 1rem; }"
        # above a result: as few lines as fit, so that the crystal is in sight
        " .st-key-run button p { font-size: 0.8rem; }"
        " .st-key-run :is(.stButton, .stDownloadButton) button { padding: 0.2rem 0.35rem; }"
        " .st-key-run [data-testid=stHorizontalBlock] { column-gap: 0.4rem; }"
        " .st-key-run [data-testid=stButtonGroup] button { padding: 0 0.45rem; }"
        # a table of numbers with their intervals
        " [data-testid=stMarkdownContainer] table { font-size: 0.8rem; }"
        " [data-testid=stMarkdownContainer] :is(th, td) { padding: 0.25rem 0.35rem !important; } }"
        # a number and its interval stay whole; on a phone the interval stands below, and the table scrolls
        # under its first column: a shade at the right end tells of more, and goes at the last column
        " .st-key-metrics td span { white-space: nowrap; }"
        " @media (max-width: 640px) { .st-key-metrics [data-testid=stMarkdownContainer] { overflow-x: auto;"
        " background: linear-gradient(to left, light-dark(#ffffff, #171614) 45%, transparent)"
        " right / 5rem 100% no-repeat local,"
        " linear-gradient(to left, light-dark(#1d4ed866, #93b7ff66), transparent)"
        " right top / 1.2rem calc(100% - 1rem) no-repeat scroll; }"
        " .st-key-metrics td:not(:first-child) { white-space: nowrap; }"
        " .st-key-metrics td span { display: block; font-size: 0.7rem !important; }"
        " .st-key-metrics :is(td, th):first-child { position: sticky; left: -1px; min-width: 5.5rem;"
        " background: light-dark(#ffffff, #171614);"
        " box-shadow: inset -1px 0 light-dark(#d3d4d9, #45433f); } }"
        # one line each: the label, then the value at the right
        " .st-key-energies [data-testid=stMetric] > div"
        " { display: flex; justify-content: space-between; align-items: baseline; gap: 1rem; }"
        " .st-key-energies [data-testid=stMetricValue] { font-size: 1rem; padding: 0; }"
        # the picture is taller where no strip stands below it
        f" [class*=st-key-facts-] {{ --rest: {REST}px; }}"
        f" [class*=st-key-facts-tall-] {{ --rest: {REST_TALL}px; }}"
        # facts beside a picture scroll by themselves, so that what is below both stays in sight
        " @media (min-width: 641px) { [class*=st-key-facts-]"
        " { max-height: calc(clamp(240px, 100vh - var(--rest), 600px) + 5.5rem);"
        " overflow-y: auto; padding-right: 0.5rem;"
        # a shade at the lower end tells of more, and goes at the last line
        " background: linear-gradient(to top, light-dark(#ffffff, #171614) 40%, transparent)"
        " bottom / 100% 2.5rem no-repeat local,"
        " linear-gradient(to top, light-dark(#1d4ed824, #93b7ff38), transparent)"
        " bottom / 100% 0.7rem no-repeat scroll; } }"
        # in a low window they would leave no room for any tab but the first: its title stays, the rest goes
        " @media (min-width: 641px) and (max-height: 860px) {"
        " [class*=st-key-facts-]:has([data-testid=stTab][aria-selected=true]:not(:first-of-type))"
        " [class*=st-key-head-] > :not(:first-child) { display: none; } }"
        " [data-testid=stCaptionContainer] { color: inherit; opacity: 0.78; }"
        " [data-testid=stPageLink] p { white-space: normal; }"
        # a list of links: one that wraps stays together, its sign at its first line
        " .st-key-recent a { align-items: flex-start; padding-block: 0.15rem; }"
        " .st-key-recent a > span:first-child { height: 1.35rem; }"
        " .st-key-recent a p { line-height: 1.35rem; }"
        # beside fields of numbers a choice is as high as these
        " :is([class*=st-key-counts], [class*=st-key-cmp-count]) button { min-height: 2.5rem; }"
        # where the keyboard is: Streamlit shades a focused link hardly visibly
        " a:focus-visible, button:focus-visible, summary:focus-visible,"
        " [data-testid=stCheckbox] label:has(:focus-visible)"
        " { outline: 2px solid light-dark(#1d4ed8, #93b7ff) !important; outline-offset: 1px; }"
        # the row of tabs cuts off what stands out of it
        " [data-testid=stTab]:focus-visible { box-shadow: none !important;"
        " outline: 2px solid light-dark(#1d4ed8, #93b7ff) !important; outline-offset: -2px; }"
        # the buttons of a table and of a text are drawn on hover only: the keyboard has none
        " [data-testid=stElementToolbar]:focus-within { opacity: 1; top: -2.75rem; z-index: 1; }"
        " [data-testid=stCode]:focus-within > pre ~ div, [data-testid=stCode]:focus-within > pre ~ div *"
        " { opacity: 1; visibility: visible; }"
        # a field that gets the focus scrolls clear of the navigation above and the button below
        " [data-testid=stMain] { scroll-padding: 4.5rem 0 2rem; }"
        " [data-testid=stMain]:has(.st-key-form-foot) { scroll-padding-bottom: 7rem; }"
        # a link to each heading is one more stop of the keyboard, and the address has its own button
        " [data-testid=stHeaderActionElements] { display: none !important; }"
        # a link among buttons looks like one
        " [class*=st-key-link-button] a"
        " { border: 1px solid light-dark(#d3d4d9, #45433f); padding: 0.31rem 0.75rem; }"
        # the pressed button covers the page
        " .stButton button:active::after { content: ''; position: fixed; inset: 0; z-index: 1; }"
        " [data-testid=stLayoutWrapper]:has(> .st-key-form-foot) { position: sticky; bottom: 0; z-index: 2; }"
        # a list is as narrow as its field, and the names of what colours the atoms are longer
        " body:has([class*='-colour'] [aria-expanded=true]) [data-testid=stSelectboxVirtualDropdown]"
        " { min-width: 18rem; }"
        # the colour of the page, because the form scrolls under it
        " .st-key-form-foot { background: light-dark(#ffffff, #171614); padding: 0.4rem 0; }"
        # the primary colour carries white text, so on a dark page it is too dark to be read itself
        " button[data-selected=true] p, [data-testid=stTab][aria-selected=true] p"
        " { color: light-dark(#1d4ed8, #93b7ff); }"
        " .stButton button[kind=primary] kbd { color: inherit; opacity: 1; }"
        # in the corner of the navigation, which leaves it free
        " [data-testid=stLayoutWrapper]:has(> .st-key-page-address)"
        " { position: fixed; top: 0.6rem; right: 1rem; z-index: 999991; width: auto; }"
        # room for what a form says of its fields, so that the button below stays where it is; in a low window
        # no more than there is, or the page would scroll and take the progress of a run out of sight
        " @media (min-width: 641px) { [data-testid=stColumn] .st-key-form-fields"
        " { min-height: min(37rem, 100vh - 16.5rem); } }"
        # the marks of :func:`run_panel`
        " [data-testid=stLayoutWrapper]:has(> :is(.st-key-run-live, .st-key-run-over)) { display: none; }"
        # a long form that was scrolled must not hide that its run has begun
        " @media (min-width: 641px) {"
        " [data-testid=stLayoutWrapper]:has(> .st-key-run .st-key-run-live)"
        " { position: sticky; top: 4.5rem; }"
        " [data-testid=stColumn]:has(.st-key-run-live) > [data-testid=stVerticalBlock] { height: 100%; } }"
        " @media (max-width: 640px) {"
        " [data-testid=stColumn]:has(.st-key-run) { order: -1; }"
        # without the form the page is short and ends at its top, where the run is
        " [data-testid=stColumn]:has(+ [data-testid=stColumn] .st-key-run-live) { display: none; } }"
        # without a pointer the toolbar of a table or a plot lies on the text above
        " @media (pointer: coarse) { [data-testid=stElementToolbar], .modebar { display: none; }"
        # without a keyboard, too
        " .stButton kbd { display: none; } }</style>"
    )


def run_panel(*, live: bool) -> DeltaGenerator:
    """The panel of a run: beside the form; on a phone above it, and alone while ``live``.

    A mark inside tells whether it is live: a panel under another key would be drawn anew when the run ends.
    """
    panel = st.container(key="run", gap="xsmall")
    panel.container(key="run-live" if live else "run-over").html("<i></i>")
    return panel
