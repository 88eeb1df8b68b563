"""What the pages keep between two runs of their scripts."""

from streamlit.testing.v1 import AppTest


def cut_short():
    import streamlit as st

    from pages._ui.link.session import action_button

    st.session_state.setdefault("runs", 0)
    st.session_state.setdefault("done", 0)
    st.session_state["runs"] += 1
    if st.session_state["runs"] == 2:
        st.rerun()  # the run that the press started ends before it comes to the button
    if action_button("Go", key="go"):
        st.session_state["done"] += 1


def test_a_press_outlives_a_run_that_is_cut_short():
    page = AppTest.from_function(cut_short).run()
    page.button(key="go").click().run()
    assert page.session_state["runs"] == 3 and page.session_state["done"] == 1
    page.run()
    assert page.session_state["done"] == 1  # it is dealt with once


def gone_to():
    import streamlit as st

    from pages._ui.link.session import action_button, go_to, keep_link

    keep_link("here")
    if action_button("Go", key="go"):
        go_to("here", job="a")
        st.rerun()
    st.text(st.query_params.get("job", "none"))


def test_a_request_from_before_the_new_link_does_not_bring_the_old_one_back(monkeypatch):
    page = AppTest.from_function(gone_to).run()
    page.button(key="go").click().run()
    assert page.text[0].value == "a"
    del page.query_params["job"]
    assert page.run().text[0].value == "a"
    monkeypatch.setattr("pages._ui.link.session.ON_ITS_WAY", 0.0)
    del page.query_params["job"]
    assert page.run().text[0].value == "none"  # later it is the reader who left


def adopting():
    import streamlit as st

    from pages._ui.link.session import adopt, is_adopted

    st.session_state.setdefault("reads", 0)
    if not is_adopted("link"):
        st.session_state["reads"] += 1
        adopt("link", {"a": 1, "b": None})


def test_what_a_link_carries_is_read_again_only_where_a_field_forgot_it():
    page = AppTest.from_function(adopting).run().run()
    assert page.session_state["reads"] == 1 and page.session_state["a"] == 1
    del page.session_state["a"]
    page.run()
    assert page.session_state["reads"] == 2 and page.session_state["a"] == 1
