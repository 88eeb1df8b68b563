"""What this is, and where to begin."""

from __future__ import annotations

import streamlit as st

from crystal_core.jobs.queue import JobQueue

st.title("Crystal Studio")
st.markdown("Type a formula, watch its unit cell form out of noise, take ranked candidate cells home as CIF. Everything runs on this machine.")
left, right = st.columns(2)
with left.container(border=True):
    st.subheader("Predict a structure")
    st.write("A formula becomes ranked candidate cells, with reasons for every verdict.")
    st.page_link("pages/predict_structure.py", label="Start with TiO2", icon=":material/science:")
with right.container(border=True):
    st.subheader("Look at a crystal")
    st.write("Upload or paste a CIF, POSCAR or extxyz: bonds, polyhedra, symmetry, diffraction.")
    st.page_link("pages/viewer.py", label="Open the viewer", icon=":material/view_in_ar:")
st.subheader("Recent runs")
jobs = JobQueue().list_jobs(limit=8)
if not jobs:
    st.caption("Nothing here yet. Try TiO2.")
for job in jobs:
    label = f"{job.request.get('formula', job.kind)} · {job.state} · {job.request.get('model', '')}"
    st.page_link("pages/predict_structure.py", label=label, query_params={"job": job.id})
