"""BibTeX of the methods behind a result."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from phasescope import __version__
from phasescope.errors import InputError

BIBTEX: dict[str, str] = {
    "poole2016": """@inproceedings{poole2016,
  title = {Exponential expressivity in deep neural networks through transient chaos},
  author = {Poole, Ben and Lahiri, Subhaneil and Raghu, Maithra and Sohl-Dickstein, Jascha and
            Ganguli, Surya},
  booktitle = {Advances in Neural Information Processing Systems},
  volume = {29},
  year = {2016},
  eprint = {1606.05340},
  archivePrefix = {arXiv},
}""",
    "schoenholz2017": """@inproceedings{schoenholz2017,
  title = {Deep Information Propagation},
  author = {Schoenholz, Samuel S. and Gilmer, Justin and Ganguli, Surya and Sohl-Dickstein, Jascha},
  booktitle = {International Conference on Learning Representations},
  year = {2017},
  eprint = {1611.01232},
  archivePrefix = {arXiv},
}""",
    "roberts2022": """@book{roberts2022,
  title = {The Principles of Deep Learning Theory},
  author = {Roberts, Daniel A. and Yaida, Sho and Hanin, Boris},
  publisher = {Cambridge University Press},
  year = {2022},
  eprint = {2106.10165},
  archivePrefix = {arXiv},
}""",
    "weng2022": """@misc{weng2022,
  title = {Statistical Physics of Deep Neural Networks: Initialization toward Optimal Channels},
  author = {Weng, Kangyu and Cheng, Aohua and Zhang, Ziyang and Sun, Pei and Tian, Yang},
  year = {2022},
  eprint = {2212.01744},
  archivePrefix = {arXiv},
}""",
    "feng2022": """@inproceedings{feng2022,
  title = {Rank Diminishing in Deep Neural Networks},
  author = {Feng, Ruili and Zheng, Kecheng and Huang, Yukun and Zhao, Deli and Jordan, Michael and
            Zha, Zheng-Jun},
  booktitle = {Advances in Neural Information Processing Systems},
  volume = {35},
  year = {2022},
  eprint = {2206.06072},
  archivePrefix = {arXiv},
}""",
    "girrbach2023": """@article{girrbach2023,
  title = {Addressing caveats of neural persistence with deep graph persistence},
  author = {Girrbach, Leander and Christensen, Anders and Winther, Ole and Akata, Zeynep and
            Koepke, A. Sophia},
  journal = {Transactions on Machine Learning Research},
  year = {2023},
  eprint = {2307.10865},
  archivePrefix = {arXiv},
}""",
    "li2020tensor": """@inproceedings{li2020tensor,
  title = {Understanding Generalization in Deep Learning via Tensor Methods},
  author = {Li, Jingling and Sun, Yanchao and Su, Jiahao and Suzuki, Taiji and Huang, Furong},
  booktitle = {International Conference on Artificial Intelligence and Statistics},
  year = {2020},
  eprint = {2001.05070},
  archivePrefix = {arXiv},
}""",
    "yaida2022": """@misc{yaida2022,
  title = {Meta-Principled Family of Hyperparameter Scaling Strategies},
  author = {Yaida, Sho},
  year = {2022},
  eprint = {2210.04909},
  archivePrefix = {arXiv},
}""",
    "noy2021": """@misc{noy2021,
  title = {A Convergence Theory Towards Practical Over-parameterized Deep Neural Networks},
  author = {Noy, Asaf and Xu, Yi and Aflalo, Yonathan and Zelnik-Manor, Lihi and Jin, Rong},
  year = {2021},
  eprint = {2101.04243},
  archivePrefix = {arXiv},
}""",
    "aguilera2025": """@article{aguilera2025,
  title = {Explosive neural networks via higher-order interactions in curved statistical manifolds},
  author = {Aguilera, Miguel and Morales, Pablo A. and Rosas, Fernando E. and Shimazaki, Hideaki},
  journal = {Nature Communications},
  volume = {16},
  pages = {6511},
  year = {2025},
  eprint = {2408.02326},
  archivePrefix = {arXiv},
}""",
    "suzuki2020": """@inproceedings{suzuki2020,
  title = {Generalization bound of globally optimal non-convex neural network training: Transportation map
           estimation by infinite dimensional Langevin dynamics},
  author = {Suzuki, Taiji},
  booktitle = {Advances in Neural Information Processing Systems},
  volume = {33},
  year = {2020},
  eprint = {2007.05824},
  archivePrefix = {arXiv},
}""",
    "yuan2020": """@inproceedings{yuan2020,
  title = {Learning Connectivity of Neural Networks from a Topological Perspective},
  author = {Yuan, Kun and Li, Quanquan and Shao, Jing and Yan, Junjie},
  booktitle = {European Conference on Computer Vision},
  year = {2020},
  eprint = {2008.08261},
  archivePrefix = {arXiv},
}""",
    "pascanu2013": """@inproceedings{pascanu2013,
  title = {On the difficulty of training recurrent neural networks},
  author = {Pascanu, Razvan and Mikolov, Tomas and Bengio, Yoshua},
  booktitle = {International Conference on Machine Learning},
  year = {2013},
  eprint = {1211.5063},
  archivePrefix = {arXiv},
}""",
    "vogt2022": """@article{vogt2022,
  title = {On {Lyapunov} Exponents for {RNNs}: Understanding Information Propagation Using Dynamical
           Systems Tools},
  author = {Vogt, Ryan and Puelma Touzel, Maximilian and Shlizerman, Eli and Lajoie, Guillaume},
  journal = {Frontiers in Applied Mathematics and Statistics},
  volume = {8},
  pages = {818799},
  year = {2022},
  doi = {10.3389/fams.2022.818799},
}""",
    "engelken2023": """@article{engelken2023,
  title = {{Lyapunov} spectra of chaotic recurrent neural networks},
  author = {Engelken, Rainer and Wolf, Fred and Abbott, L. F.},
  journal = {Physical Review Research},
  volume = {5},
  pages = {043044},
  year = {2023},
  eprint = {2006.02427},
  archivePrefix = {arXiv},
}""",
    "tallec2018": """@inproceedings{tallec2018,
  title = {Can recurrent neural networks warp time?},
  author = {Tallec, Corentin and Ollivier, Yann},
  booktitle = {International Conference on Learning Representations},
  year = {2018},
  eprint = {1804.11188},
  archivePrefix = {arXiv},
}""",
    "kim2024repu": """@misc{kim2024repu,
  title = {Why Rectified Power Unit Networks Fail and How to Improve It:
           An Effective Field Theory Perspective},
  author = {Kim, Taeyoung and Kang, Myungjoo},
  year = {2024},
  eprint = {2408.02697},
  archivePrefix = {arXiv},
}""",
    "tamai2023": """@misc{tamai2023,
  title = {Universal Scaling Laws of Absorbing Phase Transitions in Artificial Deep Neural Networks},
  author = {Tamai, Keiichi and Okubo, Tsuyoshi and Duy, Truong Vinh Truong and Natori, Naotake and
            Todo, Synge},
  year = {2023},
  eprint = {2307.02284},
  archivePrefix = {arXiv},
}""",
    "jacot2018": """@inproceedings{jacot2018,
  title = {Neural Tangent Kernel: Convergence and Generalization in Neural Networks},
  author = {Jacot, Arthur and Gabriel, Franck and Hongler, Cl{\\'e}ment},
  booktitle = {Advances in Neural Information Processing Systems},
  volume = {31},
  year = {2018},
  eprint = {1806.07572},
  archivePrefix = {arXiv},
}""",
    "xiao2020": """@inproceedings{xiao2020,
  title = {Disentangling Trainability and Generalization in Deep Neural Networks},
  author = {Xiao, Lechao and Pennington, Jeffrey and Schoenholz, Samuel S.},
  booktitle = {International Conference on Machine Learning},
  year = {2020},
  eprint = {1912.13053},
  archivePrefix = {arXiv},
}""",
    "matsumoto2005": """@article{matsumoto2005,
  title = {Exponential functionals of {Brownian} motion, {I}: Probability laws at fixed time},
  author = {Matsumoto, Hiroyuki and Yor, Marc},
  journal = {Probability Surveys},
  volume = {2},
  pages = {312--347},
  year = {2005},
  eprint = {math/0511517},
  archivePrefix = {arXiv},
}""",
    "houdayer2004": """@article{houdayer2004,
  title = {Low-temperature behavior of two-dimensional {Gaussian} {Ising} spin glasses},
  author = {Houdayer, J{\\'e}r{\\^o}me and Hartmann, Alexander K.},
  journal = {Physical Review B},
  volume = {70},
  pages = {014418},
  year = {2004},
  eprint = {cond-mat/0402036},
  archivePrefix = {arXiv},
}""",
    "mishkin2016": """@inproceedings{mishkin2016,
  title = {All you need is a good init},
  author = {Mishkin, Dmytro and Matas, Jiri},
  booktitle = {International Conference on Learning Representations},
  year = {2016},
  eprint = {1511.06422},
  archivePrefix = {arXiv},
}""",
    "domany1984": """@article{domany1984,
  title = {Equivalence of Cellular Automata to {Ising} Models and Directed Percolation},
  author = {Domany, Eytan and Kinzel, Wolfgang},
  journal = {Physical Review Letters},
  volume = {53},
  pages = {311--314},
  year = {1984},
}""",
    "jensen1999": """@article{jensen1999,
  title = {Low-density series expansions for directed percolation: {I}. {A} new efficient algorithm
           with applications to the square lattice},
  author = {Jensen, Iwan},
  journal = {Journal of Physics A},
  volume = {32},
  pages = {5233--5249},
  year = {1999},
  eprint = {cond-mat/9906036},
  archivePrefix = {arXiv},
}""",
    "voigt1997": """@article{voigt1997,
  title = {Epidemic analysis of the second-order transition in the {Ziff-Gulari-Barshad}
           surface-reaction model},
  author = {Voigt, Christopher A. and Ziff, Robert M.},
  journal = {Physical Review E},
  volume = {56},
  pages = {R6241--R6244},
  year = {1997},
}""",
    "hinrichsen2000": """@article{hinrichsen2000,
  title = {Non-equilibrium critical phenomena and phase transitions into absorbing states},
  author = {Hinrichsen, Haye},
  journal = {Advances in Physics},
  volume = {49},
  pages = {815--958},
  year = {2000},
  eprint = {cond-mat/0001070},
  archivePrefix = {arXiv},
}""",
    "kissinger2005": """@article{kissinger2005,
  title = {Nonequilibrium wetting of finite samples},
  author = {Kissinger, Thomas and Kotowicz, Andreas and Kurz, Oliver and Ginelli, Francesco and
            Hinrichsen, Haye},
  journal = {Journal of Statistical Mechanics: Theory and Experiment},
  pages = {P06002},
  year = {2005},
}""",
    "vojta2015": """@article{vojta2015,
  title = {Infinite-noise criticality: Nonequilibrium phase transitions in fluctuating environments},
  author = {Vojta, Thomas and Hoyos, Jos{\\'e} A.},
  journal = {EPL},
  volume = {112},
  pages = {30002},
  year = {2015},
  eprint = {1507.05677},
  archivePrefix = {arXiv},
}""",
    "barghathi2016": """@article{barghathi2016,
  title = {Contact process with temporal disorder},
  author = {Barghathi, Hatem and Vojta, Thomas and Hoyos, Jos{\\'e} A.},
  journal = {Physical Review E},
  volume = {94},
  pages = {022111},
  year = {2016},
  eprint = {1603.08075},
  archivePrefix = {arXiv},
}""",
    "wang2013": """@article{wang2013,
  title = {High-precision {Monte Carlo} study of directed percolation in (d+1) dimensions},
  author = {Wang, Junfeng and Zhou, Zongzheng and Liu, Qingquan and Garoni, Timothy M. and Deng, Youjin},
  journal = {Physical Review E},
  volume = {88},
  pages = {042102},
  year = {2013},
  eprint = {1201.3006},
  archivePrefix = {arXiv},
}""",
    "peng1994": """@article{peng1994,
  title = {Mosaic organization of {DNA} nucleotides},
  author = {Peng, C.-K. and Buldyrev, S. V. and Havlin, S. and Simons, M. and Stanley, H. E. and
            Goldberger, A. L.},
  journal = {Physical Review E},
  volume = {49},
  pages = {1685--1689},
  year = {1994},
  doi = {10.1103/PhysRevE.49.1685},
}""",
    "kantelhardt2001": """@article{kantelhardt2001,
  title = {Detecting long-range correlations with detrended fluctuation analysis},
  author = {Kantelhardt, Jan W. and Koscielny-Bunde, Eva and Rego, Henio H. A. and Havlin, Shlomo and
            Bunde, Armin},
  journal = {Physica A},
  volume = {295},
  pages = {441--454},
  year = {2001},
  doi = {10.1016/S0378-4371(01)00144-3},
}""",
    "chong2023": """@misc{chong2023,
  title = {Self-Organization Towards $1/f$ Noise in Deep Neural Networks},
  author = {Chong Jia Le, Nicholas and Feng, Ling},
  year = {2023},
  eprint = {2301.08530},
  archivePrefix = {arXiv},
}""",
    "he2011": """@article{he2011,
  title = {Scale-Free Properties of the Functional Magnetic Resonance Imaging Signal during Rest and Task},
  author = {He, Biyu J.},
  journal = {Journal of Neuroscience},
  volume = {31},
  pages = {13786--13795},
  year = {2011},
  doi = {10.1523/JNEUROSCI.2111-11.2011},
}""",
    "miller2007": """@misc{miller2007,
  title = {{ECoG} observations of power-law scaling in the human cortex},
  author = {Miller, Kai J. and Sorensen, Larry B. and Ojemann, Jeffrey G. and den Nijs, Marcel},
  year = {2007},
  eprint = {0712.0846},
  archivePrefix = {arXiv},
}""",
    "roy2007": """@inproceedings{roy2007,
  title = {The effective rank: A measure of effective dimensionality},
  author = {Roy, Olivier and Vetterli, Martin},
  booktitle = {15th European Signal Processing Conference},
  pages = {606--610},
  year = {2007},
}""",
    "benettin1980": """@article{benettin1980,
  title = {Lyapunov characteristic exponents for smooth dynamical systems and for {Hamiltonian} systems; a
           method for computing all of them. {Part} 2: {Numerical} application},
  author = {Benettin, Giancarlo and Galgani, Luigi and Giorgilli, Antonio and Strelcyn, Jean-Marie},
  journal = {Meccanica},
  volume = {15},
  pages = {21--30},
  year = {1980},
  doi = {10.1007/BF02128237},
}""",
    "danovski2024": """@article{danovski2024,
  title = {Dynamical stability and chaos in artificial neural network trajectories along training},
  author = {Danovski, Kaloyan and Soriano, Miguel C. and Lacasa, Lucas},
  journal = {Frontiers in Complex Systems},
  volume = {2},
  pages = {1367957},
  year = {2024},
  doi = {10.3389/fcpxs.2024.1367957},
  eprint = {2404.05782},
  archivePrefix = {arXiv},
}""",
    "jimenez2025": """@misc{jimenez2025,
  title = {Leveraging chaotic transients in the training of artificial neural networks},
  author = {Jim{\\'e}nez-Gonz{\\'a}lez, Pedro and Soriano, Miguel C. and Lacasa, Lucas},
  year = {2025},
  eprint = {2506.08523},
  archivePrefix = {arXiv},
}""",
    "ensembles2015": """@misc{ensembles2015,
  title = {Synaptic ensembles (popular version of a talk)},
  author = {{A speaker at Neuroinformatics-2015}},
  howpublished = {Talk at Neuroinformatics-2015, January 2015},
  year = {2015},
}""",
    "szegedy2014": """@inproceedings{szegedy2014,
  title = {Intriguing properties of neural networks},
  author = {Szegedy, Christian and Zaremba, Wojciech and Sutskever, Ilya and Bruna, Joan and
            Erhan, Dumitru and Goodfellow, Ian and Fergus, Rob},
  booktitle = {International Conference on Learning Representations},
  year = {2014},
  eprint = {1312.6199},
  archivePrefix = {arXiv},
}""",
    "kumar2025": """@misc{kumar2025,
  title = {Questioning Representational Optimism in Deep Learning:
           The Fractured Entangled Representation Hypothesis},
  author = {Kumar, Akarsh and Clune, Jeff and Lehman, Joel and Stanley, Kenneth O.},
  year = {2025},
  eprint = {2505.11581},
  archivePrefix = {arXiv},
}""",
    "meng2022": """@inproceedings{meng2022,
  title = {Locating and Editing Factual Associations in {GPT}},
  author = {Meng, Kevin and Bau, David and Andonian, Alex and Belinkov, Yonatan},
  booktitle = {Advances in Neural Information Processing Systems},
  year = {2022},
  eprint = {2202.05262},
  archivePrefix = {arXiv},
}""",
    "fang2025": """@inproceedings{fang2025,
  title = {{AlphaEdit}: Null-Space Constrained Knowledge Editing for Language Models},
  author = {Fang, Junfeng and Jiang, Houcheng and Wang, Kun and Ma, Yunshan and Shi, Jie and
            Wang, Xiang and He, Xiangnan and Chua, Tat-Seng},
  booktitle = {International Conference on Learning Representations},
  year = {2025},
  eprint = {2410.02355},
  archivePrefix = {arXiv},
}""",
    "lee2019": """@inproceedings{lee2019,
  title = {{SNIP}: Single-shot Network Pruning based on Connection Sensitivity},
  author = {Lee, Namhoon and Ajanthan, Thalaiyasingam and Torr, Philip H. S.},
  booktitle = {International Conference on Learning Representations},
  year = {2019},
  eprint = {1810.02340},
  archivePrefix = {arXiv},
}""",
    "lecun1990": """@inproceedings{lecun1990,
  title = {Optimal Brain Damage},
  author = {LeCun, Yann and Denker, John S. and Solla, Sara A.},
  booktitle = {Advances in Neural Information Processing Systems},
  volume = {2},
  pages = {598--605},
  year = {1990},
}""",
    "cohen2021": """@inproceedings{cohen2021,
  title = {Gradient Descent on Neural Networks Typically Occurs at the Edge of Stability},
  author = {Cohen, Jeremy M. and Kaur, Simran and Li, Yuanzhi and Kolter, J. Zico and
            Talwalkar, Ameet},
  booktitle = {International Conference on Learning Representations},
  year = {2021},
  eprint = {2103.00065},
  archivePrefix = {arXiv},
}""",
    "cohen2022": """@misc{cohen2022,
  title = {Adaptive Gradient Methods at the Edge of Stability},
  author = {Cohen, Jeremy M. and Ghorbani, Behrooz and Krishnan, Shankar and Agarwal, Naman and
            Medapati, Sourabh and Badura, Michal and Suo, Daniel and Cardoze, David and Nado, Zachary and
            Dahl, George E. and Gilmer, Justin},
  year = {2022},
  eprint = {2207.14484},
  archivePrefix = {arXiv},
}""",
    "ghorbani2019": """@inproceedings{ghorbani2019,
  title = {An Investigation into Neural Net Optimization via {Hessian} Eigenvalue Density},
  author = {Ghorbani, Behrooz and Krishnan, Shankar and Xiao, Ying},
  booktitle = {International Conference on Machine Learning},
  year = {2019},
  eprint = {1901.10159},
  archivePrefix = {arXiv},
}""",
    "sharafi2024": """@misc{sharafi2024,
  title = {Weight Dynamics of Learning Networks},
  author = {Sharafi, Nahal and Martin, Christoph and Hallerberg, Sarah},
  year = {2024},
  eprint = {2405.00743},
  archivePrefix = {arXiv},
}""",
    "kantz1994": """@article{kantz1994,
  title = {A robust method to estimate the maximal {Lyapunov} exponent of a time series},
  author = {Kantz, Holger},
  journal = {Physics Letters A},
  volume = {185},
  pages = {77--87},
  year = {1994},
  doi = {10.1016/0375-9601(94)90991-1},
}""",
    "rosenstein1993": """@article{rosenstein1993,
  title = {A practical method for calculating largest {Lyapunov} exponents from small data sets},
  author = {Rosenstein, Michael T. and Collins, James J. and De Luca, Carlo J.},
  journal = {Physica D},
  volume = {65},
  pages = {117--134},
  year = {1993},
  doi = {10.1016/0167-2789(93)90009-P},
}""",
    "marwan2007": """@article{marwan2007,
  title = {Recurrence plots for the analysis of complex systems},
  author = {Marwan, Norbert and Romano, M. Carmen and Thiel, Marco and Kurths, J{\\"u}rgen},
  journal = {Physics Reports},
  volume = {438},
  pages = {237--329},
  year = {2007},
  doi = {10.1016/j.physrep.2006.11.001},
}""",
    "schreiber1996": """@article{schreiber1996,
  title = {Improved Surrogate Data for Nonlinearity Tests},
  author = {Schreiber, Thomas and Schmitz, Andreas},
  journal = {Physical Review Letters},
  volume = {77},
  pages = {635--638},
  year = {1996},
  doi = {10.1103/PhysRevLett.77.635},
}""",
    "dong2021": """@inproceedings{dong2021,
  title = {Attention is Not All You Need: Pure Attention Loses Rank Doubly Exponentially with Depth},
  author = {Dong, Yihe and Cordonnier, Jean-Baptiste and Loukas, Andreas},
  booktitle = {International Conference on Machine Learning},
  year = {2021},
  eprint = {2103.03404},
  archivePrefix = {arXiv},
}""",
    "noci2022": """@inproceedings{noci2022,
  title = {Signal Propagation in Transformers: Theoretical Perspectives and the Role of Rank Collapse},
  author = {Noci, Lorenzo and Anagnostidis, Sotiris and Biggio, Luca and Orvieto, Antonio and
            Singh, Sidak Pal and Lucchi, Aurelien},
  booktitle = {Advances in Neural Information Processing Systems},
  volume = {35},
  year = {2022},
  eprint = {2206.03126},
  archivePrefix = {arXiv},
}""",
    "zhai2023": """@inproceedings{zhai2023,
  title = {Stabilizing Transformer Training by Preventing Attention Entropy Collapse},
  author = {Zhai, Shuangfei and Likhomanenko, Tatiana and Littwin, Etai and Busbridge, Dan and
            Ramapuram, Jason and Zhang, Yizhe and Gu, Jiatao and Susskind, Joshua M.},
  booktitle = {International Conference on Machine Learning},
  year = {2023},
  eprint = {2303.06296},
  archivePrefix = {arXiv},
}""",
    "xiao2023": """@misc{xiao2023,
  title = {Efficient Streaming Language Models with Attention Sinks},
  author = {Xiao, Guangxuan and Tian, Yuandong and Chen, Beidi and Han, Song and Lewis, Mike},
  year = {2023},
  eprint = {2309.17453},
  archivePrefix = {arXiv},
}""",
    "giorlandino2025": """@misc{giorlandino2025,
  title = {Two failure modes of deep transformers and how to avoid them: a unified theory of signal
           propagation at initialisation},
  author = {Giorlandino, Alessio and Goldt, Sebastian},
  year = {2025},
  eprint = {2505.24333},
  archivePrefix = {arXiv},
}""",
    "phasescope": f"""@software{{phasescope,
  title = {{phasescope: see which phase your network is in}},
  author = {{{{The phasescope developers}}}},
  version = {{{__version__}}},
}}""",
}


def register(key: str, bibtex: str) -> None:
    """Make a BibTeX entry known under its key; nothing is returned.

    A package with instruments or studies of its own calls this where it is imported. ``phasescope.citation``
    then prints the entry for each result whose ``citations`` hold the key. To register the same text again
    changes nothing.

    Parameters
    ----------
    key : str
        Key of the entry, as ``@article{key,`` has it, without blanks: they separate keys in ``citations``.
    bibtex : str
        The whole entry, with a title and an author.

    Raises
    ------
    InputError
        If the key is taken by another text, or if `bibtex` is not one entry with that key, a title and an
        author.

    Notes
    -----
    The registry lasts as long as the process. Where a stored result is read without the package that it is
    from, the key is unknown, and ``phasescope.citation`` says so.

    Examples
    --------
    >>> from phasescope import citation, citations
    >>> citations.register("doe2026", "@misc{doe2026, title = {On units}, author = {Doe, Jane}}")
    >>> class Result:
    ...     citations = ("doe2026",)
    >>> "On units" in citation(Result())
    True
    """
    text = bibtex.strip()
    if not re.fullmatch(r"[^\s{},]+", key):
        raise InputError(f"{key!r} is no key of a BibTeX entry.", "Write it like doe2026.")
    if not re.match(rf"@\w+\{{{re.escape(key)}\s*,", text) or not _is_one_entry(text):
        raise InputError(
            f"The text for {key} is not one BibTeX entry with that key: {text[:60]!r}.",
            f"Write it like @article{{{key}, title = {{...}}, author = {{...}}}}.",
        )
    missing = [field for field in ("title", "author") if not re.search(rf"\b{field}\s*=", text)]
    if missing:
        raise InputError(f"The BibTeX entry {key} has no {' and no '.join(missing)}.", "Add it.")
    if BIBTEX.setdefault(key, text) != text:
        raise InputError(
            f"The citation key {key} is taken by another entry: {BIBTEX[key][:60]!r}.", "Choose another key."
        )


def _is_one_entry(text: str) -> bool:
    depths = [
        text.count("{", 0, end) - text.count("}", 0, end) for end in range(text.index("{") + 1, len(text))
    ]
    return text.endswith("}") and text.count("{") == text.count("}") and min(depths) > 0


def citation_keys(result: object) -> list[str]:
    """Return the registry keys that a result names, each once, in its own order."""
    found = _named_keys(result)
    if not found:
        raise InputError(
            f"{type(result).__name__} names no citations.",
            "Pass what inspect(), profile() or critical_point() returned.",
        )
    keys = list(dict.fromkeys(found))
    unknown = [key for key in keys if key not in BIBTEX]
    if unknown:
        raise InputError(
            f"Unknown citation key(s): {', '.join(unknown)}.",
            "Import the package that brings them, or call phasescope.citations.register. "
            f"Known keys: {', '.join(sorted(BIBTEX))}.",
        )
    return keys


def citation(result: object) -> str:
    """Return BibTeX for the methods that a result was obtained with, and for phasescope itself.

    Parameters
    ----------
    result : object
        What ``inspect``, ``signal.profile``, ``theory.critical_point`` or an instrument returned. A result
        that names no citation of the registry raises ``InputError``.

    Examples
    --------
    >>> import torch, phasescope
    >>> model = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.Tanh(), torch.nn.Linear(8, 8))
    >>> inspection = phasescope.inspect(model, torch.randn(16, 8))
    >>> "@inproceedings{poole2016," in phasescope.citation(inspection)
    True
    """
    keys = [*citation_keys(result), "phasescope"]
    return "\n\n".join(BIBTEX[key] for key in dict.fromkeys(keys)) + "\n"


def _named_keys(result: Any) -> list[str]:
    attrs = getattr(result, "attrs", None)
    if isinstance(attrs, Mapping) and "citations" in attrs:
        return _as_keys(attrs["citations"])
    if getattr(result, "citations", None):
        return _as_keys(result.citations)
    if hasattr(result, "dataset"):
        return _named_keys(result.dataset)
    datasets = getattr(result, "datasets", None)
    if isinstance(datasets, Mapping):
        return [key for dataset in datasets.values() for key in _named_keys(dataset)]
    return []


def _as_keys(value: str | Iterable[str]) -> list[str]:
    return value.split() if isinstance(value, str) else list(value)
