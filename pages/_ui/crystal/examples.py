"""Well-known crystals to begin with, as POSCAR texts."""

EXAMPLES = {
    "BaTiO3 (cubic perovskite)": "BaTiO3\n4.01\n1 0 0\n0 1 0\n0 0 1\nBa Ti O\n1 1 3\n"
    "Direct\n0 0 0\n.5 .5 .5\n.5 .5 0\n.5 0 .5\n0 .5 .5\n",
    "NaCl (rock salt)": "NaCl\n5.64\n1 0 0\n0 1 0\n0 0 1\nNa Cl\n4 4\n"
    "Direct\n0 0 0\n0 .5 .5\n.5 0 .5\n.5 .5 0\n.5 .5 .5\n.5 0 0\n0 .5 0\n0 0 .5\n",
    "TiO2 (rutile)": "TiO2\n1\n4.594 0 0\n0 4.594 0\n0 0 2.959\nTi O\n2 4\n"
    "Direct\n0 0 0\n.5 .5 .5\n.305 .305 0\n.695 .695 0\n.195 .805 .5\n.805 .195 .5\n",
    "Si (diamond)": "Si\n5.431\n1 0 0\n0 1 0\n0 0 1\nSi\n8\n"
    "Direct\n0 0 0\n0 .5 .5\n.5 0 .5\n.5 .5 0\n.25 .25 .25\n.25 .75 .75\n.75 .25 .75\n.75 .75 .25\n",
}
