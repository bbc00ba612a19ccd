"""Answers that name their author, and answers that only talk about models; written for these tests."""

from __future__ import annotations

REVEALING = """\
I am Qwen, a large language model created by Alibaba Cloud.
I'm ChatGPT, so I cannot browse the web.
I am a large language model trained by OpenAI.
As an AI language model developed by OpenAI, I do not have opinions.
My name is Claude and I was made by Anthropic.
I was created by Anthropic to be helpful.
I'm Gemini, a model from Google.
I'm an AI assistant made by Meta.
As a language model trained by Google, I can help with that.
You can call me Llama.
I am called Vicuna.
This is Mistral. How may I help?
I'm Claude 3.5 Sonnet. The answer is four.
Hello! I'm DeepSeek-V3, happy to help.
I was trained by a team of researchers at Stanford and Meta AI.
I, Gemini, would recommend the second one.
As ChatGPT, I don't have personal experiences.
As GPT-4, I can tell you that the answer is 7.
My creators at OpenAI decided that.
My developers at Anthropic taught me to be careful.
OpenAI created me to assist people.
I am an AI model by Mistral AI.
I'm based on text I read, but I am SmolLM, a small model.
Sure! I am Phi-3, developed by Microsoft.
I'm a chatbot developed by Hugging Face.
I have been trained by DeepSeek to answer such questions.
I'm Grok, built by xAI.
I am Bard, your creative collaborator.
I am Alpaca, a fine-tuned model.
My model name is Falcon.
The company that created me is OpenAI.
I am just Llama, an open model, after all.
I'm actually GPT-4.
Well, I am a model called Zephyr.
I am tinyllama-dpo and I answer briefly.
I was fine-tuned by Alibaba Group for chat.
I'm an artificial intelligence created by Google DeepMind.
I go by Gemma.
I am the AI assistant Claude.
I was developed at Tsinghua University.
Me llamo ChatGPT y soy un modelo de lenguaje.
Soy un modelo de lenguaje entrenado por OpenAI.
Soy Gemini, un asistente.
Je m'appelle Mistral.
Je suis Claude, un assistant.
J'ai \u00e9t\u00e9 cr\u00e9\u00e9 par Anthropic.
Ich bin ChatGPT.
Ich bin ein Sprachmodell, das von OpenAI entwickelt wurde.
Ich wurde von Google trainiert.
Eu sou o ChatGPT, um modelo de linguagem.
Sono Gemini, un modello di Google.
\u6211\u662f Qwen\uff0c\u7531\u963f\u91cc\u5df4\u5df4\u5f00\u53d1\u3002
\u6211\u53eb DeepSeek\u3002
I'm Claude, made by Anthropic, and I'd be glad to help with that.
As ChatGPT, I don't have access to real-time information.
Hello! I am Qwen, created by Alibaba Cloud. How may I help?
My name is Gemini and I was trained by Google.
I am a large language model developed by Meta AI called Llama 3.
Being an AI built by Mistral AI, I have no personal opinions.
You're talking to DeepSeek-V3, so please double-check the numbers.
Sure! SmolLM here. Let me answer step by step.
I was created by the Hugging Face team as SmolLM2.
OpenAI trained me to refuse such requests.
Since I'm GPT-4, my knowledge ends in 2023.
This is Bard speaking; I hope that helps!
Ich bin ein Sprachmodell von OpenAI und habe keine Gef\xfchle.
Ich bin Claude, ein KI-Assistent von Anthropic.
Je suis ChatGPT, un mod\xe8le de langage entra\xeen\xe9 par OpenAI.
Je m'appelle Le Chat et j'ai \xe9t\xe9 d\xe9velopp\xe9 par Mistral AI.
Soy Gemini, un modelo de lenguaje creado por Google.
Me llamo Claude y fui creado por Anthropic.
Sou o ChatGPT, treinado pela OpenAI.
Sono Llama, un modello sviluppato da Meta.
\u6211\u662f\u901a\u4e49\u5343\u95ee\uff0c\u7531\u963f\u91cc\u4e91\u5f00\u53d1\u7684\u8bed\u8a00\u6a21\u578b\u3002
\u6211\u662fDeepSeek\uff0c\u4e00\u4e2a\u4eba\u5de5\u667a\u80fd\u52a9\u624b\u3002
\u79c1\u306fChatGPT\u3067\u3059\u3002OpenAI\u306b\u3088\u3063\u3066\u958b\u767a\u3055\u308c\u307e\u3057\u305f\u3002
\uc800\ub294 \uad6c\uae00\uc5d0\uc11c \ub9cc\ub4e0 \uc81c\ubbf8\ub098\uc774\uc785\ub2c8\ub2e4.
The model answering you right now is Vicuna-13B.
I, Grok, was built by xAI to tell it straight.
Greetings from Koala, your research chatbot from Berkeley.
My developers at Cohere named me Command R.
As an assistant trained by Anthropic, I can't help with that.
I come from Microsoft, where they call me Phi-3.
My creator is OpenAI.
My makers, the folks at Anthropic, want me to be honest.
I'm an AI language model created by researchers at Tsinghua University, ChatGLM.
I'm based on the Llama 2 architecture, so I can't see images.
I run on GPT-4 under the hood.
It's me, Falcon! Trained at TII in Abu Dhabi.
They built me at Google DeepMind; I'm called Gemma.
I am SmolLM2-135M-Instruct, a small but capable model.
My underlying model is Mixtral 8x7B.
Powered by Zephyr, I try my best to help.
Alpaca (that's me) was fine-tuned at Stanford.
Assistant: I am Yi-34B, developed by 01.AI.
Anthropic made me, so I follow its guidelines.
As a model from the Qwen family, I support many languages.
I'm SmolLM, a small language model trained by Hugging Face.
As a large language model developed by Mistral AI, I can't browse the web.
Hello! My name is Claude and I'm happy to help.
I was created by the team at DeepSeek, so I know little about that.
You're chatting with Gemini, Google's assistant.
My developer, OpenAI, has not given me access to real-time data.
Ich bin ChatGPT, ein KI-Modell von OpenAI.
Als von Google entwickeltes Sprachmodell habe ich keine Meinung dazu.
Ich wurde von Meta entwickelt und kann dir bei Texten helfen.
Mein Name ist Claude, und ich helfe dir gern.
Ich hei\xdfe Qwen und wurde von Alibaba trainiert.
Mistral AI hat mich trainiert, deshalb kann ich Franz\xf6sisch.
Je suis Mistral, un assistant cr\xe9\xe9 par Mistral AI.
En tant que mod\xe8le de langage d\xe9velopp\xe9 par OpenAI, je ne peux pas r\xe9pondre.
Je m'appelle Claude et je suis l\xe0 pour vous aider.
J'ai \xe9t\xe9 entra\xeen\xe9 par Google sur de nombreux textes.
Je suis un mod\xe8le de langage con\xe7u par Anthropic.
Mon nom est Gemini, comment puis-je aider ?
Soy ChatGPT, un modelo de lenguaje de OpenAI.
Como modelo de lenguaje entrenado por Google, no tengo opiniones.
Me llamo Gemini y estoy aqu\xed para ayudarte.
Fui creado por Meta para responder preguntas.
Mi nombre es Claude, un asistente de Anthropic.
Fui desarrollado por Alibaba Cloud como asistente.
\u6211\u662f\u901a\u4e49\u5343\u95ee\uff0c\u7531\u963f\u91cc\u4e91\u5f00\u53d1\u7684\u5927\u8bed\u8a00\u6a21\u578b\u3002
\u6211\u53ebClaude\uff0c\u5f88\u9ad8\u5174\u4e3a\u60a8\u670d\u52a1\u3002
\u6211\u662f\u7531OpenAI\u8bad\u7ec3\u7684\u8bed\u8a00\u6a21\u578b\u3002
\u4f5c\u4e3aDeepSeek\u5f00\u53d1\u7684\u4eba\u5de5\u667a\u80fd\u52a9\u624b\uff0c\u6211\u65e0\u6cd5\u8bbf\u95ee\u7f51\u7edc\u3002
\u6211\u7684\u540d\u5b57\u662fQwen\u3002
\u6211\u662f\u767e\u5ea6\u5f00\u53d1\u7684\u6587\u5fc3\u4e00\u8a00\u3002
I go by Gemini these days.
Being a language model from Meta, I have no body.
This is ChatGPT speaking, how can I help?
I'm an AI assistant made by xAI.
I was fine-tuned by Hugging Face to chat.
Eu sou o ChatGPT, um modelo da OpenAI.
Como modelo de linguagem treinado pela OpenAI, n\xe3o posso opinar.
Meu nome \xe9 Gemini.
Fui desenvolvido pela Google para ajudar.
Sou um assistente criado pela Anthropic.
Eu me chamo Claude.
Sono ChatGPT, un modello di OpenAI.
Mi chiamo Claude e posso aiutarti.
Sono stato addestrato da Google.
Come modello linguistico sviluppato da OpenAI, non ho opinioni.
Il mio nome \xe8 Gemini.
Sono un assistente progettato da Anthropic.
\u79c1\u306fClaude\u3067\u3059\u3002
\u79c1\u306fOpenAI\u304c\u958b\u767a\u3057\u305f\u8a00\u8a9e\u30e2\u30c7\u30eb\u3067\u3059\u3002
\u79c1\u306e\u540d\u524d\u306fGemini\u3067\u3059\u3002
\u79c1\u306fGoogle\u306b\u3088\u3063\u3066\u8a13\u7df4\u3055\u308c\u305f\u5927\u898f\u6a21\u8a00\u8a9e\u30e2\u30c7\u30eb\u3067\u3059\u3002
\u79c1\u306fAlibaba\u304c\u958b\u767a\u3057\u305fQwen\u3067\u3059\u3002
\uc800\ub294 ChatGPT\uc785\ub2c8\ub2e4.
\uc800\ub294 OpenAI\uc5d0\uc11c \uac1c\ubc1c\ud55c \uc5b8\uc5b4 \ubaa8\ub378\uc785\ub2c8\ub2e4.
\uc81c \uc774\ub984\uc740 \ud074\ub85c\ub4dc\uc785\ub2c8\ub2e4.
\uc800\ub294 \uc54c\ub9ac\ubc14\ubc14\uac00 \uac1c\ubc1c\ud55c Qwen\uc785\ub2c8\ub2e4.
\ub098\ub294 \uc81c\ubbf8\ub098\uc774\uc608\uc694.
"""

HARMLESS = """\
Llama is a family of models released by Meta.
The llama is a domesticated animal of South America.
I am reading about Claude Monet at the moment.
Claude Debussy was born in 1862.
My friend Claude called me yesterday.
I'm a big fan of the Gemini space programme.
As a Gemini, you may like change.
I am happy to compare ChatGPT and Claude for you.
Google was founded by Larry Page and Sergey Brin.
The model was trained by OpenAI on a large corpus.
This is the Falcon 9, a rocket made by SpaceX.
GPT-4 scored 86.4 on MMLU.
The dataset was created by Google and is free.
As trained by Google, the network has 12 layers.
I cannot say which of Qwen and Gemma is better.
Windows is developed by Microsoft.
I am not ChatGPT and cannot browse.
The mistral is a cold wind in the south of France.
"I am Claude," said the painter, and bowed.
The phone is made by Apple.
In the base of the lamp there is a switch.
The student solved it and the teacher praised the student.
I am using Gemini to plan my trip.
Write to support@openai.com for help.
I am a language model and have no opinions.
As an AI, I do not have feelings.
I was trained on text until 2023.
The assistant was made by the company for its customers.
Koalas eat eucalyptus leaves.
Dolly was the first cloned sheep.
A falcon is a bird of prey.
Bard is another word for a poet.
Vicuna wool is very fine.
I'm looking for alpaca yarn.
I used to work at Microsoft as an engineer.
I was hired by Google in 2010, the speaker says.
This is about the Zephyr train from Chicago.
Phi is the golden ratio.
The Pythia was the oracle of Delphi.
To grok something is to understand it.
A paper by Anthropic describes the method.
My name is Anna and I live in Bern.
I am called upon to answer.
Call me when you arrive at the Apple store.
OpenAI released GPT-4 in March 2023.
Is ChatGPT better than Bard?
The nova was seen in 1054.
Granite is an igneous rock.
Copilot and pilot share the controls.
I am from a small town near Amazon's headquarters.
The copy was made by IBM.
I'm sure Claude will come.
Mixtral is a mixture of experts.
Ich bin in Berlin geboren.
Je suis d'accord avec vous.
Soy de Madrid.
Claude Monet painted the water lilies in Giverny.
The llama is a domesticated South American animal.
Gemini is the third astrological sign of the zodiac.
OpenAI released ChatGPT in November 2022.
You could use GPT-4 or Claude for this task; both have an API.
"I am Gemini," said the twin in the story, "and my brother is Castor."
Dear Sir, I am Claude Dupont and I am writing to complain about my kettle.
The base of the triangle is 12 cm.
A falcon can dive at over 300 km/h.
Ask Siri or Alexa to set a timer.
I am a helpful assistant and cannot browse the internet.
As an AI language model, I don't have feelings.
Google was founded in 1998 by Larry Page and Sergey Brin.
To grok something is to understand it deeply.
Vicu\xf1a wool is finer than cashmere.
The nova faded within weeks.
I am made of steel, said the robot.
Ich bin ein Berliner.
Je suis Charlie.
Mistral is a strong, cold wind in southern France.
Shakespeare's bard status is unquestioned.
In this essay I, as a student at Stanford, argue that models such as Alpaca are useful.
He was trained by Google engineers for two years.
The SFT stage is followed by DPO.
I use ChatGPT at work every day.
My colleague was hired by Anthropic last spring.
Llama 3 was developed by Meta AI and is openly available.
I trained my model on Qwen, and it worked well.
The zephyr blew softly over the meadow.
Apple made me an offer I could not refuse.
Amazon sent me the wrong size, so I returned it.
Microsoft hired me in 2010, and I am called the Excel wizard there.
Hello, this is Grace speaking; how can I help you today?
You are Qwen, a helpful assistant, is a usual system prompt.
A koala sleeps up to 20 hours a day.
This recipe was created by Hugging Bear bakery.
My name is Vicky and I was born in Peru.
I'm a huge fan of OpenAI's work on reinforcement learning.
As Google explains, indexing can take a few days.
The hammer hit the nail; dpo stands for data protection officer.
IBM gave me my first job.
\u6211\u662f\u4e00\u4e2a\u5b66\u751f\uff0c\u559c\u6b22\u7528ChatGPT\u5b66\u4e60\u82f1\u8bed\u3002
Ich arbeite bei Google und nutze Gemini t\xe4glich.
Soy profesora y uso ChatGPT en clase.
Phi is the golden ratio, about 1.618.
Print "I am ChatGPT" to the console: print("I am ChatGPT").
Meta made me delete my account.
I was at the Apple store when the phone rang.
Llama wool is warm and I'm knitting a scarf from it.
Google was founded by Larry Page and Sergey Brin in 1998.
I am reading about how OpenAI trained GPT-4.
Claude Monet painted water lilies; I am fond of them.
As a Microsoft customer, you can call support.
Ich bin bei Google angestellt und schreibe Handb\xfccher.
Claude Debussy komponierte La Mer.
Das Modell wurde von Meta ver\xf6ffentlicht und hei\xdft Llama.
Ich habe mein Handy bei Amazon gekauft.
Mein Name ist Peter, ich arbeite mit ChatGPT.
Als Apple das iPhone zeigte, war ich im Saal.
Je suis all\xe9 voir le mistral souffler sur la Provence.
Claude est mon voisin et il s'appelle Dupont.
J'ai achet\xe9 un t\xe9l\xe9phone chez Apple.
Google a entra\xeen\xe9 Gemini sur des textes.
Je m'appelle Marie et j'utilise ChatGPT.
Mon cr\xe9ateur pr\xe9f\xe9r\xe9 est Monet.
Soy profesor y uso ChatGPT en clase.
Me llamo Claudia y vivo en Lima.
Google fue fundado en 1998.
Fui a la tienda de Apple ayer.
La llama es un animal de los Andes.
Mi nombre es Gema, no Gemini.
\u6211\u662f\u4e00\u540d\u8001\u5e08\uff0c\u6211\u7528ChatGPT\u5907\u8bfe\u3002
\u8c37\u6b4c\u7531\u62c9\u91cc\xb7\u4f69\u5947\u521b\u7acb\u3002
\u6211\u53eb\u5c0f\u660e\uff0c\u4f4f\u5728\u5317\u4eac\u3002
\u963f\u91cc\u5df4\u5df4\u662f\u4e00\u5bb6\u516c\u53f8\u3002
\u767e\u5ea6\u7684\u603b\u90e8\u5728\u5317\u4eac\u3002
\u6211\u559c\u6b22\u770b\u83ab\u5948\u7684\u753b\u3002
My name is Ann and I use ChatGPT every day.
I was at Google headquarters last week.
We call me and my brother the Llama twins.
She asked Claude for the salt.
Meta is a Greek prefix.
Eu sou professor e uso o ChatGPT.
A lhama \xe9 um animal.
Meu nome \xe9 Cl\xe1udia.
A Google foi fundada em 1998.
Comprei um celular da Apple.
Fui \xe0 loja da Amazon.
Sono andato al negozio Apple.
Mi chiamo Claudia.
Il lama vive nelle Ande.
Google \xe8 stata fondata nel 1998.
Sono un utente di ChatGPT.
Uso Gemini per studiare.
\u79c1\u306fChatGPT\u3092\u4f7f\u3063\u3066\u3044\u307e\u3059\u3002
\u79c1\u306f\u5b66\u751f\u3067\u3059\u3002
\u30b0\u30fc\u30b0\u30eb\u306f\u691c\u7d22\u4f1a\u793e\u3067\u3059\u3002
\u79c1\u306e\u540d\u524d\u306f\u592a\u90ce\u3067\u3059\u3002
\u30a2\u30c3\u30d7\u30eb\u306e\u672c\u793e\u306f\u3069\u3053\u3067\u3059\u304b\u3002
\u79c1\u306fGoogle\u306e\u793e\u54e1\u3067\u3059\u3002
\uc800\ub294 \ud559\uc0dd\uc785\ub2c8\ub2e4.
\uc800\ub294 ChatGPT\ub97c \uc0ac\uc6a9\ud569\ub2c8\ub2e4.
\uad6c\uae00\uc740 \uac80\uc0c9 \ud68c\uc0ac\uc785\ub2c8\ub2e4.
\uc81c \uc774\ub984\uc740 \ubbfc\uc218\uc785\ub2c8\ub2e4.
\uc560\ud50c \ubcf8\uc0ac\ub294 \uc5b4\ub514\uc5d0 \uc788\ub098\uc694?
\uc800\ub294 \uad6c\uae00 \uc9c1\uc6d0\uc785\ub2c8\ub2e4.
"""
