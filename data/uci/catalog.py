"""The UCI data sets: titles, creators, files, checksums, columns, classes.

Checksums are those of the files inside UCI's archives. Class counts are counted in the files; where UCI's
documentation disagrees with its file, the note of the data set says so.
"""

from __future__ import annotations

from data.uci.files import DataFile
from data.uci.reading import (
    UciSource,
    category,
    dropped,
    number,
    read_arff,
    read_broken_lines,
    read_commas_with_header,
    read_levels,
    target,
)

ALPHAS = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
# fmt: off
RINGS = (
    1, 1, 15, 57, 115, 259, 391, 568, 689, 634, 487, 267, 203, 126, 103, 67, 58, 42, 32, 26, 14, 6,
    9, 2, 1, 1, 2, 1,
)
# fmt: on

UCI: dict[str, UciSource] = {
    "abalone": UciSource(
        title="Abalone",
        creators="W. Nash, T. Sellers, S. Talbot, A. Cawthorn, W. Ford; donor S. Waugh",
        note=(
            "The class is the number of rings: 1 to 29 without 28, numbered 0 to 27. Classes with fewer than "
            "three rows are kept, in the training part only."
        ),
        columns=category("sex")
        + number("length, diameter, height, whole weight, shucked weight, viscera weight, shell weight")
        + target("rings"),
        classes={str(rings): f"{rings} rings" for rings in range(1, 30) if rings != 28},
        counts=RINGS,
        number=1,
        slug="abalone",
        files=(
            DataFile(
                "abalone.data",
                ("de37cdcdcaaa50c309d514f248f7c2302a5f1f88c168905eba23fe2fbc78449f",),
                191873,
            ),
        ),
    ),
    "credit_approval": UciSource(
        title="Credit approval",
        creators="confidential; submitted by J. R. Quinlan",
        columns=category("A1")
        + number("A2, A3")
        + category("A4, A5, A6, A7")
        + number("A8")
        + category("A9, A10")
        + number("A11")
        + category("A12, A13")
        + number("A14, A15")
        + target("A16"),
        classes={"-": "-", "+": "+"},
        counts=(383, 307),
        number=27,
        slug="credit+approval",
        files=(
            DataFile(
                "crx.data",
                ("fff49bc186cbddb3ace7371d40d9fbbb3af4f126019c13ff3f562249b1454f4d",),
                32218,
            ),
        ),
    ),
    "cylinder_bands": UciSource(
        title="Cylinder bands",
        creators="B. Evans, RR Donnelley & Sons",
        note=(
            "Left out: timestamp, cylinder number, customer and job number, which identify a row, so that a "
            "network could memorize its class; without them, two rows are equal. Upper and lower case of "
            "nominal values are the same. One record is broken over two lines in UCI's file; the lines are "
            "joined. UCI's description says 512 rows (312/200), its file has 540 (312/228)."
        ),
        columns=dropped("timestamp, cylinder number, customer, job number")
        + category("grain screened, ink color, proof on ctd ink, blade mfg, cylinder division, paper type")
        + category("ink type, direct steam, solvent type, type on cylinder, press type, press")
        + category("unit number, cylinder size, paper mill location, plating tank")
        + number("proof cut, viscosity, caliper, ink temperature, humidity, roughness, blade pressure")
        + number("varnish pct, press speed, ink pct, solvent pct, ESA voltage, ESA amperage, wax")
        + number("hardener, roller durometer, current density, anode space ratio, chrome content")
        + target("band type"),
        classes={"noband": "no band", "band": "band"},
        counts=(312, 228),
        number=32,
        slug="cylinder+bands",
        files=(
            DataFile(
                "bands.data",
                (
                    "31b4bd7f6cbca567e06199ae8bbe085c00d64657fcb2daad0c214cb4d08076f7",
                    "63d7b897e6710196cb492d96a84343c63ac13040d514b8243541a1fa3a8768a7",
                ),
                103300,
            ),
        ),
        read=read_broken_lines,
        fold_case=True,
    ),
    "dermatology": UciSource(
        title="Dermatology",
        creators="N. Ilter, H. A. Guvenir",
        columns=number(
            "erythema, scaling, definite borders, itching, koebner phenomenon, polygonal papules, "
            "follicular papules, oral mucosal involvement, knee and elbow involvement, "
            "scalp involvement, family history, melanin incontinence, "
            "eosinophils in the infiltrate, PNL infiltrate, fibrosis of the papillary dermis, "
            "exocytosis, acanthosis, hyperkeratosis, parakeratosis, clubbing of the rete ridges, "
            "elongation of the rete ridges, thinning of the suprapapillary epidermis, "
            "spongiform pustule, munro microabscess, focal hypergranulosis, "
            "disappearance of the granular layer, vacuolisation and damage of basal layer, "
            "spongiosis, saw-tooth appearance of retes, follicular horn plug, "
            "perifollicular parakeratosis, inflammatory mononuclear infiltrate, "
            "band-like infiltrate, age"
        )
        + target("class"),
        classes={
            "1": "psoriasis",
            "2": "seborrheic dermatitis",
            "3": "lichen planus",
            "4": "pityriasis rosea",
            "5": "chronic dermatitis",
            "6": "pityriasis rubra pilaris",
        },
        counts=(112, 61, 72, 49, 52, 20),
        number=33,
        slug="dermatology",
        files=(
            DataFile(
                "dermatology.data",
                ("455eba77f72cd087ce54a5a266c514c5f34e85000c8689ad09e796d68ad45742",),
                25964,
            ),
        ),
    ),
    "heart_disease": UciSource(
        title="Heart disease (Cleveland)",
        creators="A. Janosi, W. Steinbrunn, M. Pfisterer, R. Detrano",
        note="Five classes as in the file: no disease and four stages. Other work often merges the four stages.",
        columns=number("age")
        + category("sex, cp")
        + number("trestbps, chol")
        + category("fbs, restecg")
        + number("thalach")
        + category("exang")
        + number("oldpeak")
        + category("slope")
        + number("ca")
        + category("thal")
        + target("num"),
        classes={"0": "absent", "1": "stage 1", "2": "stage 2", "3": "stage 3", "4": "stage 4"},
        counts=(164, 55, 36, 35, 13),
        number=45,
        slug="heart+disease",
        files=(
            DataFile(
                "processed.cleveland.data",
                ("a74b7efa387bc9d108d7d0115d831fe9b414b29ae7124f331b622b4efa0427c8",),
                18461,
            ),
        ),
    ),
    "diabetic": UciSource(
        title="Diabetic retinopathy Debrecen",
        creators="B. Antal, A. Hajdu",
        note="5 duplicate rows.",
        columns=number("quality, pre-screening")
        + number(", ".join(f"microaneurysms at alpha {alpha}" for alpha in ALPHAS))
        + number(", ".join(f"exudates {i}" for i in range(1, 9)))
        + number("macula to optic disc, optic disc diameter, AM/FM")
        + target("class"),
        classes={"0": "no sign", "1": "signs"},
        counts=(540, 611),
        number=329,
        slug="diabetic+retinopathy+debrecen",
        files=(
            DataFile(
                "messidor_features.arff",
                ("b83485dd519127ac1ba06a95da5f1d12d4bde2a362eb32d7d353bdcabfa08a93",),
                117224,
                also=("diabetic_retinopathy_debrecen/messidor_features.arff",),
            ),
        ),
        read=read_arff,
    ),
    "dishonest_users": UciSource(
        title="Dishonest Internet users",
        creators="G. D'Angelo and others",
        note=(
            "322 rows, of which 15 are distinct, so that the validation and test parts have few distinct rows. "
            "The known checksum is that of a copy; UCI's own file was not available for comparison, and is "
            "accepted if its rows, columns and class counts are right. Levels are read as numbers."
        ),
        columns=number("counting trust, counting untrust, last time") + category("context") + target("score"),
        classes={"untrustworthy": "untrustworthy", "trustworthy": "trustworthy"},
        counts=(97, 225),
        number=453,
        slug="dishonest+internet+users+dataset",
        files=(
            DataFile(
                "Dishonest Internet users Dataset.txt",
                ("d703691c4f0fdfc0680cafd3df49ec9c417ed37cbec0b5e007f727f45b46ff75",),
                8589,
                content="e5a300bfdb643b8eaeba76314c0ee4260fdc84906810bf3631538334dadf9adf",
                unseen=True,
                also=(
                    "dishonest_users/main.csv",
                    "dishonest_internet_users/Dishonest Internet users Dataset.txt",
                    "dishonest_internet_users_NOT_UCI_RAW/main.csv",
                ),
            ),
        ),
        read=read_levels,
        known_layout="ctrust,cuntrust,last,context,score",
    ),
    "early_stage_diabetes_risk": UciSource(
        title="Early stage diabetes risk prediction",
        creators="M. M. F. Islam, R. Ferdousi, S. Rahman, H. Y. Bushra",
        note="269 duplicate rows, so that 251 rows are distinct.",
        columns=number("age")
        + category("gender, polyuria, polydipsia, sudden weight loss, weakness, polyphagia")
        + category("genital thrush, visual blurring, itching, irritability, delayed healing")
        + category("partial paresis, muscle stiffness, alopecia, obesity")
        + target("class"),
        classes={"Negative": "negative", "Positive": "positive"},
        counts=(200, 320),
        number=529,
        slug="early+stage+diabetes+risk+prediction+dataset",
        files=(
            DataFile(
                "diabetes_data_upload.csv",
                (
                    "7889d9d0beb7dd1ccc58da99f72763f16afb259b5dbbaa086f8195366ff66137",
                    "fba09cdce359ada29bf87d8def1a7a32d956f793e2176c9fdcf7d004aba2f76e",
                ),
                34682,
                also=("early_stage_diabetes/diabetes_data_upload.csv",),
            ),
        ),
        read=read_commas_with_header,
    ),
    "fertility": UciSource(
        title="Fertility diagnosis",
        creators="D. Gil, J. L. Girela",
        note="12 of 100 rows are in the smaller class.",
        columns=category("season")
        + number("age, childish diseases, accident or trauma, surgical intervention, high fevers")
        + number("alcohol, smoking, hours sitting")
        + target("diagnosis"),
        classes={"N": "normal", "O": "altered"},
        counts=(88, 12),
        number=244,
        slug="fertility",
        files=(
            DataFile(
                "fertility_Diagnosis.txt",
                ("c04c6f1a676fa6c55fa6c5ee23f9c9a4cada8e64419850767900380aec91cdbb",),
                3041,
            ),
        ),
    ),
    "haberman": UciSource(
        title="Haberman's survival",
        creators="S. J. Haberman; donor T.-S. Lim",
        note="23 rows repeat an earlier row, 17 of them with the same class.",
        columns=number("age, year of operation, positive nodes") + target("survival"),
        classes={"1": "survived 5 years", "2": "died within 5 years"},
        counts=(225, 81),
        number=43,
        slug="haberman+s+survival",
        files=(
            DataFile(
                "haberman.data",
                ("b4b7a32586a5668f9f4d6dc8be9d1bc8cd4822523affb1f6b5bfc350681ef3e2",),
                3103,
            ),
        ),
    ),
    "hayes_roth": UciSource(
        title="Hayes-Roth",
        creators="B. and F. Hayes-Roth; donor D. W. Aha",
        note=(
            "UCI's training and test files are joined and split again: 160 rows, few of them distinct. Left "
            "out: name, which is a row number."
        ),
        columns=dropped("name") + category("hobby, age, educational level, marital status") + target("class"),
        classes={"1": "1", "2": "2", "3": "neither"},
        counts=(65, 64, 31),
        number=44,
        slug="hayes+roth",
        files=(
            DataFile(
                "hayes-roth.data",
                ("7d7ca47e6d9076863fef2810c80a44a28fe7beffbc17473d4a4948100cffb2dc",),
                1740,
            ),
            DataFile(
                "hayes-roth.test",
                ("a32f5acac46f09669ebf858fe5f75b8295e7b9307bb7766fade7d9ba9534c06a",),
                280,
                absent=("name",),
            ),
        ),
    ),
    "hcv": UciSource(
        title="Hepatitis C laboratory values",
        creators="R. Lichtinghagen, F. Klawonn, G. Hoffmann",
        note="Left out: the row number. The rows of the file are sorted by class.",
        columns=dropped("id")
        + target("category")
        + number("age")
        + category("sex")
        + number("ALB, ALP, ALT, AST, BIL, CHE, CHOL, CREA, GGT, PROT"),
        classes={
            "0=Blood Donor": "blood donor",
            "0s=suspect Blood Donor": "suspect blood donor",
            "1=Hepatitis": "hepatitis",
            "2=Fibrosis": "fibrosis",
            "3=Cirrhosis": "cirrhosis",
        },
        counts=(533, 7, 24, 21, 30),
        number=571,
        slug="hcv+data",
        files=(
            DataFile(
                "hcvdat0.csv",
                ("f6950f9738af019bb4e5b5061e0f8a1cf2f7c35f2ca4a92f548e64700d055f7e",),
                45567,
                content="8ee47f524de203405fe589401f2778f49c8ea3d332b6250f2c46c61aba17abe9",
            ),
        ),
        read=read_commas_with_header,
        missing="NA",
    ),
}
"""Files, columns and classes of every UCI data set, by name."""
